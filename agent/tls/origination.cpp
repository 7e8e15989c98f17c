#include "tls/origination.h"

#include <algorithm>

namespace sluice::tls {
namespace {

constexpr unsigned kept_reloads = 600;

// Istio's fields as options, or why they cannot be followed.
Result<ClientOptions> options_of(const ClientTls& tls) {
  if (tls.mode == ClientTlsMode::disable) return Error("tls.mode: DISABLE begins no TLS");
  if (tls.mode == ClientTlsMode::istio_mutual) {
    return Error("tls.mode: ISTIO_MUTUAL needs certificates of a mesh: use MUTUAL with files");
  }
  if (!tls.credential_name.empty()) {
    return Error("tls.credentialName: Secrets are not read: use clientCertificate, privateKey and caCertificates");
  }
  ClientOptions options;
  options.files.roots = tls.ca_certificates;
  options.files.revoked = tls.ca_crl;
  if (tls.mode == ClientTlsMode::mutual) {
    if (tls.client_certificate.empty() || tls.private_key.empty()) {
      return Error("tls.mode: MUTUAL needs clientCertificate and privateKey");
    }
    options.files.certificate = tls.client_certificate;
    options.files.key = tls.private_key;
  }
  options.peer_names = tls.subject_alt_names;
  options.skip_verification = tls.insecure_skip_verify;
  options.tls13_only = false;
  return options;
}

std::string read_again(Context& context) {
  const auto status = context.reload();
  return status ? std::string() : status.error().message();
}

}  // namespace

Result<std::shared_ptr<const Context>> OriginationContexts::get(const ClientTls& tls) {
  const std::lock_guard lock(mutex_);
  auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.tls == tls; });
  if (found == entries_.end()) {
    auto options = options_of(tls);
    if (!options) return options.error();
    auto context = std::make_shared<ClientContext>(std::move(*options));
    auto problem = read_again(*context);
    found = entries_.insert(entries_.end(), Entry{tls, std::move(context), std::move(problem)});
  }
  found->unused_reloads = 0;
  if (!found->context->current()) return Error(found->problem);
  return std::shared_ptr<const Context>(found->context);
}

void OriginationContexts::reload() {
  std::vector<std::shared_ptr<ClientContext>> contexts;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [](Entry& entry) { return ++entry.unused_reloads > kept_reloads; });
    for (const auto& entry : entries_) contexts.push_back(entry.context);
  }
  // Files are read without the lock, which calls wait for.
  for (const auto& context : contexts) {
    auto problem = read_again(*context);
    const std::lock_guard lock(mutex_);
    for (auto& entry : entries_) {
      if (entry.context == context) entry.problem = problem;
    }
  }
}

}  // namespace sluice::tls

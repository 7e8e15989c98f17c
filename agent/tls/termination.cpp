#include "tls/termination.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>
#include <tuple>
#include <utility>

#include "tls/loaded.h"
#include "tls/peer.h"
#include "tls/pem.h"

namespace sluice::tls {
namespace {

constexpr std::string_view secret_keys[] = {"cert",   "key",    "tls.crt", "tls.key", "tls.ocsp-staple",
                                            "cacert", "ca.crt", "crl",     "ca.crl"};

bool is_there(const std::string& path) {
  const auto version = FileVersion::of(path);
  return version && version->exists();
}

// A Secret's name is one part of a path, whatever a Gateway says.
bool is_secret_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos;
}

bool asks_for_clients(const ServerTls& tls) {
  return tls.mode != ServerTlsMode::simple || tls.insecure_skip_verify;
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Is the certificate for `host` of a Gateway, or for a name that a wildcard there covers? Names in the subject count
// where there are no others, as they do for clients of such certificates.
bool is_for(X509* certificate, const std::string& host) {
  if (host == "*") return true;
  // A wildcard certificate covers one label more than its name has.
  const auto name = host.starts_with("*.") ? "any" + host.substr(1) : host;
  return ::X509_check_host(certificate, name.data(), name.size(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1;
}

int to_version(TlsVersion version, int automatic) {
  switch (version) {
    case TlsVersion::v1_0:
      return TLS1_VERSION;
    case TlsVersion::v1_1:
      return TLS1_1_VERSION;
    case TlsVersion::v1_2:
      return TLS1_2_VERSION;
    case TlsVersion::v1_3:
      return TLS1_3_VERSION;
    case TlsVersion::automatic:
      break;
  }
  return automatic;
}

// SSL_CTX_set_tlsext_status_cb: the OCSP response of the certificate that was chosen.
int staple_response(SSL* ssl, void* own) noexcept {
  const auto& staples = static_cast<const Loaded*>(own)->staples;
  const auto found = staples.find(::SSL_get_certificate(ssl));
  if (found == staples.end()) return SSL_TLSEXT_ERR_NOACK;
  const auto& staple = found->second;
  auto* copy = static_cast<unsigned char*>(OPENSSL_memdup(staple.data(), staple.size()));
  if (!copy) return SSL_TLSEXT_ERR_NOACK;
  ::SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(staple.size()));
  return SSL_TLSEXT_ERR_OK;
}

bool same(const TerminationOptions& left, const TerminationOptions& right) {
  const auto tied = [](const TerminationOptions& options) {
    const auto& tls = options.tls;
    return std::tie(options.hosts, options.alpn, tls.mode, tls.credentials, tls.files, tls.ca_certificates,
                    tls.ca_credential, tls.ca_crl, tls.subject_alt_names, tls.certificate_hashes, tls.public_key_hashes,
                    tls.min_version, tls.max_version, tls.cipher_suites, tls.insecure_skip_verify);
  };
  return tied(left) == tied(right);
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

}  // namespace

struct TerminationContext::Credential {
  Files files;
  std::string staple;  // path; empty: none
};

std::set<std::string> secret_names(const ServerTls& tls) {
  std::set<std::string> names(tls.credentials.begin(), tls.credentials.end());
  if (!tls.ca_credential.empty()) {
    names.insert(tls.ca_credential);
  } else if (asks_for_clients(tls)) {
    for (const auto& name : tls.credentials) names.insert(name + "-cacert");
  }
  std::erase_if(names, [](const std::string& name) { return !is_secret_name(name); });
  return names;
}

TerminationContext::TerminationContext(TerminationOptions options, const SecretStore& secrets)
    : Context({}), options_(std::move(options)), secrets_(secrets) {}

std::string TerminationContext::find_key(const std::string& secret,
                                         std::initializer_list<std::string_view> keys) const {
  for (const auto key : keys) {
    auto path = secrets_.path(secret, std::string(key));
    if (is_there(path)) return path;
  }
  return {};
}

std::vector<std::string> TerminationContext::hosts_without() const {
  const auto loaded = current();
  return loaded ? loaded->hosts_without : std::vector<std::string>();
}

std::vector<std::string> TerminationContext::paths() const {
  const auto& tls = options_.tls;
  std::vector<std::string> paths;
  const auto add_secret = [&](const std::string& name) {
    if (!is_secret_name(name)) return;
    for (const auto key : secret_keys) paths.push_back(secrets_.path(name, std::string(key)));
  };
  for (const auto& name : tls.credentials) {
    add_secret(name);
    add_secret(name + "-cacert");
  }
  add_secret(tls.ca_credential);
  for (const auto& files : tls.files) {
    paths.push_back(files.certificate);
    paths.push_back(files.private_key);
  }
  for (const auto& path : {tls.ca_certificates, tls.ca_crl}) {
    if (!path.empty()) paths.push_back(path);
  }
  return paths;
}

Result<std::vector<TerminationContext::Credential>> TerminationContext::find_credentials() const {
  std::vector<Credential> credentials;
  credentials.reserve(options_.tls.files.size() + options_.tls.credentials.size());
  for (const auto& files : options_.tls.files)
    credentials.push_back({{files.certificate, files.private_key, "", ""}, ""});
  for (const auto& name : options_.tls.credentials) {
    if (!is_secret_name(name)) return Error("credentialName " + name + ": not the name of a Secret");
    Files files;
    const bool generic = !find_key(name, {"cert"}).empty();
    files.certificate = find_key(name, {generic ? "cert" : "tls.crt"});
    files.key = find_key(name, {generic ? "key" : "tls.key"});
    if (files.certificate.empty())
      return Error(secrets_.describe(name) + ": no certificate: neither tls.crt nor cert is there");
    if (files.key.empty())
      return Error(files.certificate + ": its key " + (generic ? "key" : "tls.key") + " is missing");
    credentials.push_back({std::move(files), find_key(name, {"tls.ocsp-staple"})});
  }
  return credentials;
}

Result<Files> TerminationContext::find_roots() const {
  const auto& tls = options_.tls;
  Files files;
  files.roots = tls.ca_certificates;
  files.revoked = tls.ca_crl;
  if (!files.roots.empty()) return files;
  std::vector<std::string> names{tls.ca_credential};
  if (tls.ca_credential.empty()) {
    names.clear();
    for (const auto& name : tls.credentials) {
      names.push_back(name + "-cacert");
      names.push_back(name);
    }
  }
  for (const auto& name : names) {
    if (!is_secret_name(name)) continue;
    files.roots = find_key(name, {"cacert", "ca.crt"});
    if (files.roots.empty()) continue;
    files.revoked = find_key(name, {"crl", "ca.crl"});
    return files;
  }
  return Error("no roots to verify clients by: neither cacert nor ca.crt is in Secret " + join(names));
}

Status TerminationContext::use_credentials(Loaded& loaded) const {
  auto credentials = find_credentials();
  if (!credentials) return credentials.error();
  auto* context = loaded.context.get();
  loaded.hosts_without = options_.hosts;
  for (const auto& credential : *credentials) {
    if (auto used = use_certificate(loaded, credential.files); !used) return used;
    auto* leaf = ::SSL_CTX_get0_certificate(context);
    const auto covered = std::erase_if(loaded.hosts_without, [&](const auto& host) { return is_for(leaf, host); });
    const bool of_use = covered > 0 || std::any_of(options_.hosts.begin(), options_.hosts.end(),
                                                   [&](const auto& host) { return is_for(leaf, host); });
    if (!of_use) {
      return Error(credential.files.certificate + " is for " + describe_names(leaf) + ", which is none of the hosts " +
                   join(options_.hosts));
    }
    if (!credential.staple.empty()) loaded.staples[leaf] = read_bytes(credential.staple);
  }
  ::ERR_clear_error();
  if (!loaded.staples.empty()) {
    ::SSL_CTX_set_tlsext_status_cb(context, staple_response);
    ::SSL_CTX_set_tlsext_status_arg(context, &loaded);
  }
  return Done{};
}

Status TerminationContext::ask_for_clients(Loaded& loaded) const {
  const auto& tls = options_.tls;
  if (!asks_for_clients(tls)) return Done{};
  auto* context = loaded.context.get();
  loaded.rules = {tls.subject_alt_names, tls.certificate_hashes, tls.public_key_hashes, tls.insecure_skip_verify};
  auto files = find_roots();
  if (files) {
    if (auto used = use_roots(context, *files); !used) return used;
    // Clients choose among their certificates by this.
    ::SSL_CTX_set_client_CA_list(context, ::SSL_load_client_CA_file(files->roots.c_str()));
  } else if (!tls.insecure_skip_verify) {
    return files.error();
  } else {
    ::SSL_CTX_set_cert_verify_callback(context, verify_peer, nullptr);
  }
  const bool required = tls.mode == ServerTlsMode::mutual;
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
  loaded.verify = true;
  return Done{};
}

Status TerminationContext::use_versions_and_ciphers(const Loaded& loaded) const {
  auto* context = loaded.context.get();
  const auto& tls = options_.tls;
  if (::SSL_CTX_set_min_proto_version(context, to_version(tls.min_version, TLS1_2_VERSION)) != 1 ||
      ::SSL_CTX_set_max_proto_version(context, to_version(tls.max_version, 0)) != 1) {
    return Error("minProtocolVersion, maxProtocolVersion: " + take_error());
  }
  // TLS 1.3 has suites of its own, which are not chosen among those of the versions before. What is not known is passed
  // over, unless nothing is left.
  std::string older;
  std::string newest;
  for (const auto& suite : tls.cipher_suites) {
    const std::string_view name = ::OPENSSL_cipher_name(suite.c_str());
    const bool of_newest = suite.starts_with("TLS_AES_") || suite.starts_with("TLS_CHACHA20_POLY1305_SHA256");
    auto& list = of_newest ? newest : older;
    list.append(list.empty() ? "" : ":").append(name == "(NONE)" || of_newest ? std::string_view(suite) : name);
  }
  if (!older.empty() && ::SSL_CTX_set_cipher_list(context, older.c_str()) != 1) {
    return Error("cipherSuites: none of " + older + " is known: " + take_error());
  }
  if (!newest.empty() && ::SSL_CTX_set_ciphersuites(context, newest.c_str()) != 1) {
    return Error("cipherSuites: " + newest + ": " + take_error());
  }
  ::SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  return Done{};
}

Result<std::shared_ptr<Loaded>> TerminationContext::load() const {
  auto made = make_loaded(::TLS_server_method(), false);
  if (!made) return made;
  auto& loaded = **made;
  if (auto used = use_credentials(loaded); !used) return used.error();
  if (auto used = ask_for_clients(loaded); !used) return used.error();
  if (auto used = use_versions_and_ciphers(loaded); !used) return used.error();
  prepare_server(loaded, options_.alpn);
  return made;
}

std::vector<std::shared_ptr<const Context>> Terminations::use(std::vector<TerminationOptions> wanted) {
  std::vector<std::shared_ptr<TerminationContext>> contexts;
  for (auto& options : wanted) {
    const auto is_it = [&](const auto& context) { return same(context->options(), options); };
    auto found = std::find_if(contexts.begin(), contexts.end(), is_it);
    if (found != contexts.end()) {
      contexts.push_back(*found);
      continue;
    }
    found = std::find_if(contexts_.begin(), contexts_.end(), is_it);
    contexts.push_back(found != contexts_.end() ? *found
                                                : std::make_shared<TerminationContext>(std::move(options), secrets_));
  }
  contexts_ = std::move(contexts);
  return {contexts_.begin(), contexts_.end()};
}

std::vector<std::string> Terminations::reload() {
  std::vector<std::string> wrong;
  for (const auto& context : contexts_) {
    const auto about = "TLS for " + join(context->options().hosts) + ": ";
    if (const auto done = context->reload(); !done) {
      wrong.push_back(about + done.error().message() +
                      (context->current() ? "; the certificate before stays in use" : "; its clients are refused"));
    }
    for (const auto& host : context->hosts_without())
      wrong.push_back(fmt::format("{}no certificate is for {}", about, host));
  }
  // The same context may be that of several servers.
  std::sort(wrong.begin(), wrong.end());
  wrong.erase(std::unique(wrong.begin(), wrong.end()), wrong.end());
  return wrong;
}

}  // namespace sluice::tls

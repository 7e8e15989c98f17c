#include "tls/context.h"

#include <algorithm>
#include <ctime>

#include "tls/loaded.h"
#include "tls/peer.h"
#include "tls/pem.h"

namespace sluice::tls {
namespace {

Result<std::vector<FileVersion>> versions_of(const std::vector<std::string>& paths) {
  std::vector<FileVersion> versions;
  for (const auto& path : paths) {
    const auto version = FileVersion::of(path);
    if (!version) return version.error();
    versions.push_back(*version);
  }
  return versions;
}

Status check_dates(const X509* certificate, const std::string& path) {
  if (::X509_cmp_current_time(::X509_get0_notBefore(certificate)) >= 0) {
    return Error(path + ": the certificate is not valid yet");
  }
  if (is_expired(certificate)) return Error(path + ": the certificate has expired");
  return Done{};
}

std::int64_t not_after(const X509* certificate) {
  std::tm time{};
  if (::ASN1_TIME_to_tm(::X509_get0_notAfter(certificate), &time) != 1) return 0;
  return ::timegm(&time);
}

int choose_alpn(SSL*, const unsigned char** chosen, unsigned char* chosen_bytes, const unsigned char* offered,
                unsigned offered_bytes, void* own) noexcept {
  const auto& wanted = *static_cast<const std::string*>(own);
  unsigned char* match = nullptr;
  const auto result =
      ::SSL_select_next_proto(&match, chosen_bytes, reinterpret_cast<const unsigned char*>(wanted.data()),
                              static_cast<unsigned>(wanted.size()), offered, offered_bytes);
  *chosen = match;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

Status use_certificate(Loaded& loaded, const Files& files) {
  auto* context = loaded.context.get();
  const auto chain = read_certificates(files.certificate);
  if (!chain) return chain.error();
  const auto key = read_key(files.key);
  if (!key) return key.error();
  auto* leaf = chain->front().get();
  if (auto dated = check_dates(leaf, files.certificate); !dated) return dated;
  if (::X509_check_private_key(leaf, key->get()) != 1) {
    ::ERR_clear_error();
    return Error(files.key + " is not the key of the certificate in " + files.certificate);
  }
  bool used = ::SSL_CTX_use_certificate(context, leaf) == 1 && ::SSL_CTX_use_PrivateKey(context, key->get()) == 1;
  for (std::size_t index = 1; used && index < chain->size(); ++index) {
    used = ::SSL_CTX_add1_chain_cert(context, (*chain)[index].get()) == 1;
  }
  if (!used) return Error(files.certificate + ": " + take_error());
  const auto expires = not_after(leaf);
  loaded.expires = loaded.expires == 0 ? expires : std::min(loaded.expires, expires);
  return Done{};
}

Status use_roots(SSL_CTX* context, const Files& files) {
  auto* store = ::SSL_CTX_get_cert_store(context);
  if (files.roots.empty()) {
    if (::SSL_CTX_set_default_verify_paths(context) != 1) return Error("the system's roots: " + take_error());
  } else {
    const auto roots = read_certificates(files.roots);
    if (!roots) return roots.error();
    for (const auto& root : *roots) {
      if (::X509_STORE_add_cert(store, root.get()) != 1) return Error(files.roots + ": " + take_error());
    }
  }
  if (!files.revoked.empty()) {
    const auto crls = read_crls(files.revoked);
    if (!crls) return crls.error();
    for (const auto& crl : *crls) {
      if (::X509_STORE_add_crl(store, crl.get()) != 1) return Error(files.revoked + ": " + take_error());
    }
    ::X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  }
  ::SSL_CTX_set_cert_verify_callback(context, verify_peer, nullptr);
  return Done{};
}

Result<std::shared_ptr<Loaded>> make_loaded(const SSL_METHOD* method, bool tls13_only) {
  auto loaded = std::make_shared<Loaded>();
  loaded->context.reset(::SSL_CTX_new(method));
  auto* context = loaded->context.get();
  if (!context || ::SSL_CTX_set_min_proto_version(context, tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION) != 1) {
    return Error("TLS context: " + take_error());
  }
  ::SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  // A certificate is shown with the chain in its file. OpenSSL would look for one in each handshake.
  ::SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  ::SSL_CTX_set_read_ahead(context, 1);
  ::SSL_CTX_set_timeout(context, static_cast<long>(session_lifetime.count()));
  return loaded;
}

void prepare_server(Loaded& loaded, const std::vector<std::string>& alpn) {
  auto* context = loaded.context.get();
  loaded.alpn = encode_alpn(alpn);
  if (!loaded.alpn.empty()) ::SSL_CTX_set_alpn_select_cb(context, choose_alpn, &loaded.alpn);
  ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  // Sessions of one certificate must not be resumed with another one: whom they are for is part of them.
  constexpr unsigned char session_scope[] = "sluice";
  ::SSL_CTX_set_session_id_context(context, session_scope, sizeof session_scope - 1);
  // Whoever resumes gets the next one then.
  ::SSL_CTX_set_num_tickets(context, 1);
  loaded.tickets.install(context);
}

std::string encode_alpn(const std::vector<std::string>& protocols) {
  std::string wire;
  for (const auto& protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) continue;
    wire.push_back(static_cast<char>(protocol.size()));
    wire += protocol;
  }
  return wire;
}

Context::Context(Files files) : files_(std::move(files)) {}

Context::~Context() = default;

std::vector<std::string> Context::paths() const {
  std::vector<std::string> paths{files_.certificate, files_.key, files_.roots, files_.revoked};
  std::erase(paths, "");
  return paths;
}

Status Context::reload() {
  // Taken before reading: what changes meanwhile is another version next time.
  auto versions = versions_of(paths());
  if (!versions) return versions.error();
  if (*versions == read_) return Done{};
  auto loaded = load();
  if (!loaded) return loaded.error();
  read_ = std::move(*versions);
  const std::lock_guard lock(mutex_);
  current_ = std::move(*loaded);
  return Done{};
}

std::shared_ptr<Loaded> Context::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

std::int64_t Context::expires() const {
  const auto loaded = current();
  return loaded ? loaded->expires : 0;
}

ClientContext::ClientContext(ClientOptions options) : Context(options.files), options_(std::move(options)) {}

Result<std::shared_ptr<Loaded>> ClientContext::load() const {
  auto made = make_loaded(::TLS_client_method(), options_.tls13_only);
  if (!made) return made;
  auto& loaded = **made;
  auto* context = loaded.context.get();
  if (!files_.certificate.empty()) {
    if (auto used = use_certificate(loaded, files_); !used) return used.error();
  }
  loaded.rules.names = options_.peer_names;
  loaded.verify = !options_.skip_verification;
  if (loaded.verify) {
    if (auto used = use_roots(context, files_); !used) return used.error();
    ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  SessionCache::install(context);
  return made;
}

ServerContext::ServerContext(ServerOptions options) : Context(options.files), options_(std::move(options)) {}

Result<std::shared_ptr<Loaded>> ServerContext::load() const {
  auto made = make_loaded(::TLS_server_method(), options_.tls13_only);
  if (!made) return made;
  auto& loaded = **made;
  auto* context = loaded.context.get();
  if (auto used = use_certificate(loaded, files_); !used) return used.error();
  if (!files_.roots.empty()) {
    if (auto used = use_roots(context, files_); !used) return used.error();
    ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    loaded.verify = true;
  }
  prepare_server(loaded, options_.alpn);
  return made;
}

}  // namespace sluice::tls

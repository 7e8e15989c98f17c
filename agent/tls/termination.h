// Contexts of the TLS that ends here, by what Gateways say of it: certificates from Secrets or files, and what clients
// are asked for.
#pragma once

#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "policy/routes.h"
#include "tls/context.h"
#include "tls/secret_store.h"

namespace sluice::tls {

struct TerminationOptions {
  ServerTls tls;                   // of a mode that ends here
  std::vector<std::string> hosts;  // the server's: names, "*.name" or "*"; a certificate is for at least one of them
  std::vector<std::string> alpn;   // most wanted first
};

// The Secrets that it is made of, those included that need not be there.
std::set<std::string> secret_names(const ServerTls& tls);

// Keys of a certificate: cert and
// key, or else tls.crt and tls.key, with tls.ocsp-staple; of the roots for clients: cacert, or else ca.crt, in the
// Secret NAME-cacert or else in NAME itself, and beside them crl, or else ca.crl.
class TerminationContext final : public Context {
 public:
  // `secrets` outlives it.
  TerminationContext(TerminationOptions options, const SecretStore& secrets);

  const TerminationOptions& options() const { return options_; }
  // The server's hosts that no certificate is for.
  std::vector<std::string> hosts_without() const;

 private:
  struct Credential;

  Result<std::shared_ptr<Loaded>> load() const override;
  std::vector<std::string> paths() const override;

  Result<std::vector<Credential>> find_credentials() const;
  Result<Files> find_roots() const;
  Status use_credentials(Loaded& loaded) const;
  Status ask_for_clients(Loaded& loaded) const;
  Status use_versions_and_ciphers(const Loaded& loaded) const;

  // The first of the keys that a Secret has, as a path; empty: none.
  std::string find_key(const std::string& secret, std::initializer_list<std::string_view> keys) const;

  const TerminationOptions options_;
  const SecretStore& secrets_;
};

// The contexts in use. For one thread; what it gives away is for all of them.
class Terminations {
 public:
  explicit Terminations(std::string directory) : secrets_(std::move(directory)) {}

  // For those that are told; reload() makes them count.
  SecretStore& secrets() { return secrets_; }

  // Contexts for these, those that are here already being kept; without certificates until these are good.
  std::vector<std::shared_ptr<const Context>> use(std::vector<TerminationOptions> wanted);
  // Reads files that have changed; wanted every second. Says what is wrong now: nothing that was good once is given up.
  std::vector<std::string> reload();

 private:
  SecretStore secrets_;
  std::vector<std::shared_ptr<TerminationContext>> contexts_;
};

}  // namespace sluice::tls

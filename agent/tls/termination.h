// Contexts of the TLS that ends here, by what Gateways say of it: certificates from Secrets or files, and what clients
// are asked for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/routes.h"
#include "tls/context.h"

namespace sluice::tls {

struct TerminationOptions {
  ServerTls tls;                   // of a mode that ends here
  std::vector<std::string> hosts;  // the server's: names, "*.name" or "*"; a certificate is for at least one of them
  std::vector<std::string> alpn;   // most wanted first
};

// Secrets are directories under one, as Kubernetes mounts them: a file for each key. Keys of a certificate: cert and
// key, or else tls.crt and tls.key, with tls.ocsp-staple; of the roots for clients: cacert, or else ca.crt, in the
// Secret NAME-cacert or else in NAME itself, and beside them crl, or else ca.crl.
class TerminationContext final : public Context {
 public:
  TerminationContext(TerminationOptions options, std::string secrets);

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

  const TerminationOptions options_;
  const std::string secrets_;
};

// The contexts in use. For one thread; what it gives away is for all of them.
class Terminations {
 public:
  explicit Terminations(std::string secrets) : secrets_(std::move(secrets)) {}

  // Contexts for these, those that are here already being kept; without certificates until these are good.
  std::vector<std::shared_ptr<const Context>> use(std::vector<TerminationOptions> wanted);
  // Reads files that have changed; wanted every second. Says what is wrong now: nothing that was good once is given up.
  std::vector<std::string> reload();

 private:
  const std::string secrets_;
  std::vector<std::shared_ptr<TerminationContext>> contexts_;
};

}  // namespace sluice::tls

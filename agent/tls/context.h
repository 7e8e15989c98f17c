// What TLS connections are made with: certificates and rules from PEM files, read again when these change.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/file_version.h"
#include "base/result.h"

namespace sluice::tls {

// PEM files, each at most 4 MiB. Empty: none.
struct Files {
  std::string certificate;  // this side's chain, leaf first
  std::string key;          // its private key, without passphrase
  std::string roots;        // the peer's certificate must lead to one of these
  std::string revoked;      // CRLs of every authority on the peer's chain
  bool operator==(const Files&) const = default;
};

struct ClientOptions {
  Files files;                          // without roots: the system's
  std::vector<std::string> peer_names;  // the server's certificate must have one of these: a URI ("spiffe://..."), DNS
                                        // name or IP address; empty: the server name of each connection
  bool skip_verification = false;       // any certificate of any server will do
  bool tls13_only = true;               // else TLS 1.2 too
  bool operator==(const ClientOptions&) const = default;
};

struct ServerOptions {
  Files files;  // with roots: clients must have a certificate that leads there; without: none is asked for
  std::vector<std::string> alpn;  // most wanted first; a client that offers none of these is refused, one that offers
                                  // nothing is served without; empty: not negotiated
  bool tls13_only = true;
};

struct Loaded;

// Shared by all threads. Connections keep what was current when they began; sessions are not resumed across a reload,
// so that none outlives the certificates it was made with.
class Context {
 public:
  virtual ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Reads the files when they changed since the last good reading; else it costs a stat(2) for each. Wanted before the
  // first connection and then every second, from one thread at a time. On an error what was good stays in use, and the
  // files are read again each time until they are good: the text says which one is wrong and how.
  Status reload();

  // notAfter of this side's certificate in seconds since the epoch; 0 without one.
  std::int64_t expires() const;
  // For connections. Null until the first good reading.
  std::shared_ptr<Loaded> current() const;

 protected:
  explicit Context(Files files);
  virtual Result<std::shared_ptr<Loaded>> load() const = 0;
  // What load() reads, or would if it were there.
  virtual std::vector<std::string> paths() const;

  const Files files_;

 private:
  std::optional<std::vector<FileVersion>> read_;  // the files that current_ is of
  mutable std::mutex mutex_;
  std::shared_ptr<Loaded> current_;
};

class ClientContext final : public Context {
 public:
  explicit ClientContext(ClientOptions options);

 private:
  Result<std::shared_ptr<Loaded>> load() const override;

  const ClientOptions options_;
};

// Sealed tickets let clients resume on every thread of this process; other replicas make a full handshake of them.
class ServerContext final : public Context {
 public:
  explicit ServerContext(ServerOptions options);

 private:
  Result<std::shared_ptr<Loaded>> load() const override;

  const ServerOptions options_;
};

}  // namespace sluice::tls

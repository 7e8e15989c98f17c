// A context as it was read: immutable but for its sessions. For this module's own files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tls/context.h"
#include "tls/handles.h"
#include "tls/peer.h"
#include "tls/session_cache.h"
#include "tls/ticket_keys.h"

namespace sluice::tls {

struct Loaded {
  // Before `context`, which refers to them.
  SessionCache sessions;  // clients
  TicketKeys tickets;     // servers
  std::string alpn;       // servers: as on the wire, RFC 7301 section 3.1
  PeerRules rules;
  bool verify = false;
  std::int64_t expires = 0;                    // the first of its certificates to expire
  std::map<const X509*, std::string> staples;  // servers: OCSP responses of certificates in `context`, DER
  std::vector<std::string> hosts_without;      // servers: hosts that no certificate is for
  SslCtxPtr context;
};

// One with nothing in it but what every context has.
Result<std::shared_ptr<Loaded>> make_loaded(const SSL_METHOD* method, bool tls13_only);
// This side's certificate and key, once more for another type of key. Fails unless both are good now and fit.
Status use_certificate(Loaded& loaded, const Files& files);
// What the peer's certificate is verified with.
Status use_roots(SSL_CTX* context, const Files& files);
// What every server has: protocols, and tickets of its own.
void prepare_server(Loaded& loaded, const std::vector<std::string>& alpn);
// Protocol names as on the wire. Names of no or more than 255 bytes are left out.
std::string encode_alpn(const std::vector<std::string>& protocols);

}  // namespace sluice::tls

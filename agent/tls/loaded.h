// A context as it was read: immutable but for its sessions. For this module's own files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tls/handles.h"
#include "tls/session_cache.h"
#include "tls/ticket_keys.h"

namespace sluice::tls {

struct Loaded {
  // Before `context`, which refers to them.
  SessionCache sessions;           // clients
  TicketKeys tickets;              // servers
  std::string alpn;                // servers: as on the wire, RFC 7301 section 3.1
  std::vector<std::string> names;  // clients: ClientOptions::peer_names
  bool verify = false;
  std::int64_t expires = 0;
  SslCtxPtr context;
};

// Protocol names as on the wire. Names of no or more than 255 bytes are left out.
std::string encode_alpn(const std::vector<std::string>& protocols);

}  // namespace sluice::tls

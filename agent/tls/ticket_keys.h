// The keys that a server seals its session tickets with (RFC 5077 section 4). For this module's own files.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/bytes.h"
#include "tls/handles.h"

namespace sluice::tls {

// How long a session may be resumed, from its full handshake or its last resumption.
inline constexpr std::chrono::seconds session_lifetime{3600};

struct TicketKey {
  std::array<std::uint8_t, 16> name;
  std::array<std::uint8_t, 32> cipher;  // AES-256-CBC
  std::array<std::uint8_t, 32> mac;     // HMAC-SHA256
  std::uint64_t born_ns = 0;
};

// Random keys that live in this process only, shared by its threads: another replica of a server does not know them,
// and makes a full handshake of a ticket of this one. A key seals for one lifetime and opens for two.
class TicketKeys {
 public:
  // `now_ns`: CLOCK_MONOTONIC.
  TicketKey sealing(std::uint64_t now_ns);
  std::optional<TicketKey> opening(ByteSpan name, std::uint64_t now_ns);

  // Gives a server's SSL_CTX these keys, which must outlive it.
  void install(SSL_CTX* context);

 private:
  std::mutex mutex_;
  std::optional<TicketKey> current_;
  std::optional<TicketKey> previous_;
};

}  // namespace sluice::tls

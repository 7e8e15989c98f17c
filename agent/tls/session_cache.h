// Sessions that clients may resume (RFC 8446 section 4.6.1). For this module's own files.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

#include "tls/handles.h"

namespace sluice::tls {

// Where the sessions of a connection are kept. It outlives the connection (SSL).
class SessionCache;
struct SessionHome {
  SessionCache* cache = nullptr;
  std::string peer;
};

// Each is handed out once: a ticket that is used twice lets an observer link the connections (RFC 8446 section C.4).
// Safe for all threads, and bounded: the oldest of a peer goes first, then whole peers.
class SessionCache {
 public:
  static constexpr std::size_t max_per_peer = 32;
  static constexpr std::size_t max_sessions = 1024;

  void put(const std::string& peer, SessionPtr session);
  // The newest; null when there is none.
  SessionPtr take(const std::string& peer);
  std::size_t size() const;

  // Connections of this client's SSL_CTX keep what servers give them in their SessionHome.
  static void install(SSL_CTX* context);
  static void attach(SSL* connection, SessionHome& home);
  // Keeps the session that `connection` has resumed for the next one where no new one will come: TLS 1.2 has no single
  // tickets, and its servers seldom renew them.
  static void give_back(SSL* connection);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::deque<SessionPtr>> peers_;
  std::size_t size_ = 0;
};

}  // namespace sluice::tls

#include "tls/session_cache.h"

#include "tls/peer.h"

namespace sluice::tls {
namespace {

int home_index() {
  static const int index = ::SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// SSL_CTX_sess_set_new_cb: a session came. A copy is kept, for the connection's own is marked unusable when it breaks.
int keep_session(SSL* connection, SSL_SESSION* session) noexcept {
  const auto* home = static_cast<SessionHome*>(::SSL_get_ex_data(connection, home_index()));
  SessionPtr copy(::SSL_SESSION_dup(session));
  if (home && copy) home->cache->put(home->peer, std::move(copy));
  return 0;  // no reference was taken
}

}  // namespace

void SessionCache::put(const std::string& peer, SessionPtr session) {
  const std::lock_guard lock(mutex_);
  auto& sessions = peers_[peer];
  sessions.push_back(std::move(session));
  ++size_;
  if (sessions.size() > max_per_peer) {
    sessions.pop_front();
    --size_;
  }
  if (size_ <= max_sessions) return;
  auto victim = peers_.begin();
  if (victim->first == peer) ++victim;
  size_ -= victim->second.size();
  peers_.erase(victim);
}

SessionPtr SessionCache::take(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return nullptr;
  auto session = std::move(found->second.back());
  found->second.pop_back();
  --size_;
  if (found->second.empty()) peers_.erase(found);
  // Resuming shows no certificate: what the session was made with must still be good.
  const auto* certificate = ::SSL_SESSION_get0_peer(session.get());
  if (certificate && is_expired(certificate)) return nullptr;
  return session;
}

std::size_t SessionCache::size() const {
  const std::lock_guard lock(mutex_);
  return size_;
}

void SessionCache::install(SSL_CTX* context) {
  // OpenSSL's own cache finds no client sessions.
  ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  ::SSL_CTX_sess_set_new_cb(context, keep_session);
}

void SessionCache::give_back(SSL* connection) {
  if (::SSL_session_reused(connection) == 1 && ::SSL_version(connection) < TLS1_3_VERSION) {
    keep_session(connection, ::SSL_get0_session(connection));
  }
}

void SessionCache::attach(SSL* connection, SessionHome& home) {
  ::SSL_set_ex_data(connection, home_index(), &home);
}

}  // namespace sluice::tls

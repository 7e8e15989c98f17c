#include "tls/socket_bio.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>

namespace sluice::tls {
namespace {

constexpr int at_end = BIO_FLAGS_IN_EOF;
constexpr std::size_t max_unsent_bytes = 64UL * 1024;

SocketState& state_of(BIO* bio) {
  return *static_cast<SocketState*>(::BIO_get_data(bio));
}

int read_socket(BIO* bio, char* buffer, int size) {
  auto& state = state_of(bio);
  ::BIO_clear_retry_flags(bio);
  ssize_t got = -1;
  errno = EAGAIN;
  if (state.budget > 0 && !state.drained) {
    got = ::recv(state.socket.native_handle(), buffer, static_cast<std::size_t>(size), MSG_DONTWAIT);
    state.drained = state.told && got != 0 && got < size;
  }
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR)
      ::BIO_set_retry_read(bio);
    else
      state.error = errno;
    return -1;
  }
  if (got == 0) ::BIO_set_flags(bio, at_end);
  state.budget -= std::min(state.budget, static_cast<std::size_t>(got));
  return static_cast<int>(got);
}

// Sends without waiting: how much the socket took, nullopt when it broke.
std::optional<std::size_t> send_some(SocketState& state, ByteSpan bytes) {
  const auto sent = ::send(state.socket.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (errno == EAGAIN || errno == EINTR) return 0;
  state.error = errno;
  return std::nullopt;
}

int write_socket(BIO* bio, const char* bytes, int size) {
  auto& state = state_of(bio);
  ::BIO_clear_retry_flags(bio);
  const ByteSpan all(reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(size));
  if (state.gathered != nullptr) {
    state.gathered->insert(state.gathered->end(), all.begin(), all.end());
    return size;
  }
  return send_behind(state, all) ? size : -1;
}

long control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  return command == BIO_CTRL_EOF && ::BIO_test_flags(bio, at_end) != 0 ? 1 : 0;
}

BIO_METHOD* make_method() {
  auto* method = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
  ::BIO_meth_set_read(method, read_socket);
  ::BIO_meth_set_write(method, write_socket);
  ::BIO_meth_set_ctrl(method, control);
  return method;
}

}  // namespace

bool send_unsent(SocketState& state) {
  if (state.unsent.empty()) return true;
  const auto sent = send_some(state, state.unsent);
  if (!sent) return false;
  state.unsent.erase(state.unsent.begin(), state.unsent.begin() + static_cast<std::ptrdiff_t>(*sent));
  // An idle connection holds no buffer.
  if (state.unsent.empty()) state.unsent.shrink_to_fit();
  return true;
}

bool send_now(SocketState& state, ByteSpan bytes) {
  const auto sent = send_some(state, bytes);
  if (!sent) return false;
  const auto rest = bytes.subspan(*sent);
  state.unsent.insert(state.unsent.end(), rest.begin(), rest.end());
  return true;
}

bool send_behind(SocketState& state, ByteSpan bytes) {
  if (state.unsent.empty()) return send_now(state, bytes);
  if (state.unsent.size() > max_unsent_bytes) {
    state.error = ENOBUFS;
    return false;
  }
  state.unsent.insert(state.unsent.end(), bytes.begin(), bytes.end());
  return true;
}

BioPtr make_socket_bio(SocketState& state) {
  static const std::unique_ptr<BIO_METHOD, Free<::BIO_meth_free>> method(make_method());
  BioPtr bio(::BIO_new(method.get()));
  if (!bio) return bio;
  ::BIO_set_data(bio.get(), &state);
  ::BIO_set_init(bio.get(), 1);
  return bio;
}

}  // namespace sluice::tls

#include "tls/socket_bio.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace sluice::tls {
namespace {

constexpr int at_end = BIO_FLAGS_IN_EOF;

SocketState& state_of(BIO* bio) {
  return *static_cast<SocketState*>(::BIO_get_data(bio));
}

// What a failed call means: -1, with the retry flag when waiting helps.
int failed(BIO* bio, int retry) {
  if (errno == EAGAIN || errno == EINTR) {
    ::BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  } else {
    state_of(bio).error = errno;
  }
  return -1;
}

int read_socket(BIO* bio, char* buffer, int size) {
  auto& state = state_of(bio);
  ::BIO_clear_retry_flags(bio);
  if (state.budget == 0) {
    errno = EAGAIN;
    return failed(bio, BIO_FLAGS_READ);
  }
  const auto got = ::recv(state.socket.native_handle(), buffer, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (got < 0) return failed(bio, BIO_FLAGS_READ);
  if (got == 0) ::BIO_set_flags(bio, at_end);
  state.budget -= std::min(state.budget, static_cast<std::size_t>(got));
  return static_cast<int>(got);
}

int write_socket(BIO* bio, const char* bytes, int size) {
  ::BIO_clear_retry_flags(bio);
  const auto put =
      ::send(state_of(bio).socket.native_handle(), bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  return put < 0 ? failed(bio, BIO_FLAGS_WRITE) : static_cast<int>(put);
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

BioPtr make_socket_bio(SocketState& state) {
  static const std::unique_ptr<BIO_METHOD, Free<::BIO_meth_free>> method(make_method());
  BioPtr bio(::BIO_new(method.get()));
  if (!bio) return bio;
  ::BIO_set_data(bio.get(), &state);
  ::BIO_set_init(bio.get(), 1);
  return bio;
}

}  // namespace sluice::tls

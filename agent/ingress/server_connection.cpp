#include "ingress/server_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "ingress/cluster.h"
#include "ingress/desk.h"
#include "tls/channel.h"

namespace sluice::ingress {
namespace {

int take_socket_error(const net::Socket& socket) {
  int code = 0;
  socklen_t size = sizeof code;
  ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &code, &size);
  return code;
}

}  // namespace

ServerConnection::ServerConnection(Desk& desk, std::shared_ptr<Place> place, std::unique_ptr<net::Channel> channel)
    : desk_(desk), place_(std::move(place)), channel_(std::move(channel)) {
  place_->count_connection(1);
  arm(desk_.timeouts(), place_->limits.connect_timeout);
  auto& socket = channel_->socket();
  // Whether that has failed is found out by the timeout.
  if (socket.listen(*this)) socket.listen_writable();
}

ServerConnection::~ServerConnection() {
  place_->count_connection(-1);
}

void ServerConnection::close() {
  stage_ = Stage::over;
  disarm();
  channel_->socket().close();
}

void ServerConnection::leave() {
  close();
  desk_.dismiss(*this);
}

void ServerConnection::on_ready(net::Socket&, std::uint32_t events) {
  if (stage_ == Stage::over) return;
  channel_->on_ready(events);
  if (events == 0) turn_asked_ = false;
  if (stage_ == Stage::connecting && !connect(events)) return;
  if (stage_ == Stage::handshake && !shake_hands()) return;
  flush();
  if (stage_ == Stage::open) on_input();
}

// True: it is connected.
bool ServerConnection::connect(std::uint32_t events) {
  if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return false;
  if (const int code = take_socket_error(channel_->socket()); code != 0) {
    fail(Failure::Kind::connect, place_->address.to_string() + ": " + std::system_category().message(code));
    return false;
  }
  stage_ = channel_->is_encrypted() ? Stage::handshake : Stage::open;
  if (stage_ == Stage::open) arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
  return true;
}

bool ServerConnection::shake_hands() {
  auto& tls = static_cast<tls::TlsChannel&>(*channel_);
  switch (tls.handshake()) {
    case net::Io::done:
      stage_ = Stage::open;
      arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
      return true;
    case net::Io::wait:
      return false;
    case net::Io::end:
    case net::Io::broken:
      fail(Failure::Kind::connect, place_->address.to_string() + ": TLS handshake: " + tls.failure());
      return false;
  }
  return false;
}

void ServerConnection::flush() {
  bool moved = false;
  while (stage_ == Stage::open && produce()) {
    const auto before = channel_->queued();
    const auto sent = channel_->flush();
    // What the server said before it went is still to be read.
    if (sent == net::Io::broken) return;
    moved = moved || channel_->queued() < before;
    if (sent == net::Io::wait) break;
  }
  moved_ = moved_ || moved;
  if (moved && stage_ == Stage::open && !channel_->is_full()) on_room();
}

void ServerConnection::flush_soon() {
  if (stage_ != Stage::open) return;
  if (!std::exchange(turn_asked_, true)) channel_->socket().listen_later();
}

void ServerConnection::fail(Failure::Kind kind, std::string detail) {
  if (stage_ == Stage::over) return;
  close();
  on_broken({kind, std::move(detail)});
}

void ServerConnection::rest(net::Milliseconds limit) {
  resting_ = true;
  arm(desk_.timeouts(), limit);
}

void ServerConnection::wake() {
  resting_ = false;
  moved_ = true;
  if (stage_ == Stage::open) arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
}

void ServerConnection::on_timeout() {
  const auto where = place_->address.to_string();
  if (stage_ == Stage::connecting) return fail(Failure::Kind::timeout, where + ": no answer in time");
  if (stage_ == Stage::handshake) return fail(Failure::Kind::timeout, where + ": the TLS handshake took too long");
  if (resting_) return on_idle_for_long();
  if (is_due() && !std::exchange(moved_, false))
    return fail(Failure::Kind::reset, where + ": took or sent nothing for too long");
  arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
}

}  // namespace sluice::ingress

#include "relay/socket_tunnel.h"

#include <sys/epoll.h>

namespace sluice::relay {
namespace {

constexpr std::uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

}  // namespace

void SocketTunnel::begin() {
  if (!client_.is_open() || !upstream_.is_open()) return cut();
  if (!client_.listen(*this) || !upstream_.listen(*this)) finish(End::overloaded);
  tell();
}

void SocketTunnel::cut() {
  finish(End::cut);
  tell();
}

void SocketTunnel::on_idle() {
  finish(unanswered() ? End::no_answer : End::idle);
  tell();
}

void SocketTunnel::on_ready(net::Socket& socket, std::uint32_t events) {
  auto& outward = &socket == &client_ ? up_ : down_;
  auto& inward = &socket == &client_ ? down_ : up_;
  if (events != 0) outward.on_source_event((events & ended) != 0);
  const auto readable = (events & (EPOLLIN | ended)) != 0;
  const auto writable = (events & (EPOLLOUT | ended)) != 0;
  const auto is_due = [&](const Pump& pump, Pump::Need need, bool met) {
    return (met && pump.need() == need) || ((met || events == 0) && pump.need() == Pump::Need::turn);
  };
  if (is_due(outward, Pump::Need::bytes, readable)) move(outward);
  if (is_due(inward, Pump::Need::room, writable)) move(inward);
  tell();
}

void SocketTunnel::move(Pump& pump) {
  if (end_) return;
  const bool upward = &pump == &up_;
  auto& to = upward ? upstream_ : client_;
  switch (pump.run()) {
    case Pump::Need::bytes:
      return;
    case Pump::Need::turn:
      return to.listen_later();
    case Pump::Need::room:
      if (!to.listen_writable()) finish(End::overloaded);
      return;
    case Pump::Need::ended:
      return settle(pump, to);
  }
}

void SocketTunnel::settle(const Pump& pump, net::Socket& to) {
  const bool upward = &pump == &up_;
  if (pump.end() != MoveEnd::end_of_stream) {
    return finish(upward ? end_of(pump.end(), End::client_reset, End::upstream_reset)
                         : end_of(pump.end(), End::upstream_reset, End::client_reset));
  }
  const auto& other = upward ? down_ : up_;
  // Closing says the same as the second end of stream would.
  if (other.need() == Pump::Need::ended) return finish(End::finished);
  net::finish_writing(to);
}

// The first one decides; everything after is a consequence.
void SocketTunnel::finish(End end) {
  if (end_) return;
  end_ = end;
  for (auto* socket : {&client_, &upstream_}) {
    if (end == End::finished) {
      socket->close();
    } else {
      net::reset(*socket);
    }
  }
}

void SocketTunnel::tell() {
  if (end_) owner_.on_tunnel_end(*end_);
}

}  // namespace sluice::relay

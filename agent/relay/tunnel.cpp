#include "relay/tunnel.h"

#include <sys/epoll.h>

#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <optional>

#include "relay/move.h"

namespace sluice::relay {
namespace {

using namespace boost::asio::experimental::awaitable_operators;  // NOLINT(google-build-using-namespace)

// How a tunnel of which one direction could not go on ends.
End end_of(MoveEnd end, End source_failed, End sink_failed) {
  if (end == MoveEnd::out_of_files) return End::overloaded;
  return end == MoveEnd::read_failed ? source_failed : sink_failed;
}

// Between two TCP sockets: they are registered with the event loop once, and every event moves what it can.
class SocketTunnel final : private net::Socket::Listener {
 public:
  SocketTunnel(net::Stream& client, net::Stream& upstream, PipePool& pipes, Totals& totals)
      : client_(client.socket()),
        upstream_(upstream.socket()),
        up_(client_, upstream_, pipes, totals.sent),
        down_(upstream_, client_, pipes, totals.received) {}

  // Ends with both sockets closed.
  net::Task<End> run() {
    if (client_.is_open() && upstream_.is_open()) {
      if (!client_.listen(*this) || !upstream_.listen(*this)) finish(End::overloaded);
      while (!end_ && client_.is_open()) co_await client_.wait_readable();
    }
    // Whoever else has closed one of them has cut it.
    finish(End::cut);
    co_return *end_;
  }

 private:
  void on_ready(net::Socket& socket, std::uint32_t events) override {
    constexpr std::uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
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
  }

  void move(Pump& pump) {
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

  void settle(const Pump& pump, net::Socket& to) {
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
  void finish(End end) {
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

  net::Socket& client_;
  net::Socket& upstream_;
  Pump up_;
  Pump down_;
  std::optional<End> end_;
};

// Of which a side has to be copied. The first thing that goes wrong decides how it ended; everything after is a
// consequence.
class StreamTunnel {
 public:
  StreamTunnel(net::Stream& client, net::Stream& upstream, PipePool& pipes, Totals& totals)
      : client_(client), upstream_(upstream), pipes_(pipes), totals_(totals) {}

  net::Task<End> run() {
    co_await (upward() && downward());
    client_.close();
    upstream_.close();
    co_return end_;
  }

 private:
  net::Task<void> upward() {
    const auto end = co_await move_bytes(client_, upstream_, Pump::no_limit, pipes_, totals_.sent);
    co_await settle(end, upstream_, End::client_reset, End::upstream_reset);
  }
  net::Task<void> downward() {
    const auto end = co_await move_bytes(upstream_, client_, Pump::no_limit, pipes_, totals_.received);
    co_await settle(end, client_, End::upstream_reset, End::client_reset);
  }

  net::Task<void> settle(MoveEnd end, net::Stream& to, End source_failed, End sink_failed) {
    if (end == MoveEnd::end_of_stream) co_return co_await to.finish_writing();
    if (end_ == End::finished) {
      const bool cut = !client_.is_open() || !upstream_.is_open();
      end_ = cut ? End::cut : end_of(end, source_failed, sink_failed);
    }
    // Resetting also wakes the other direction.
    client_.reset();
    upstream_.reset();
  }

  net::Stream& client_;
  net::Stream& upstream_;
  PipePool& pipes_;
  Totals& totals_;
  End end_ = End::finished;
};

}  // namespace

std::string_view to_string(End end) {
  constexpr std::array<std::string_view, 9> names = {
      "finished", "client_reset", "upstream_reset", "idle", "no_answer", "cut", "overloaded", "denied", "malformed"};
  return names[static_cast<std::size_t>(end)];
}

net::Task<End> tunnel(net::Stream& client, net::Stream& upstream, IdleLimits limits, PipePool& pipes, Totals& totals) {
  const IdleGuard guard(client, upstream, limits, totals);
  End end{};
  if (client.is_plain() && upstream.is_plain()) {
    SocketTunnel state(client, upstream, pipes, totals);
    end = co_await state.run();
  } else {
    StreamTunnel state(client, upstream, pipes, totals);
    end = co_await state.run();
  }
  if (guard.unanswered()) co_return End::no_answer;
  co_return guard.expired() ? End::idle : end;
}

}  // namespace sluice::relay

#include "relay/tunnel.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <optional>

#include "relay/move.h"
#include "relay/socket_tunnel.h"

namespace sluice::relay {
namespace {

using namespace boost::asio::experimental::awaitable_operators;  // NOLINT(google-build-using-namespace)

// A SocketTunnel to be waited for.
class AwaitedTunnel final : private SocketTunnel::Owner {
 public:
  AwaitedTunnel(net::Socket& client, net::Socket& upstream, IdleLimits limits, PipePool& pipes, Totals& totals)
      : client_(client), tunnel_(client, upstream, limits, pipes, totals, *this) {}

  net::Task<End> run() {
    tunnel_.begin();
    while (!end_) {
      // Only its end, or whoever has cut it, ends a wait with false.
      const bool open = co_await client_.wait_readable();
      if (!open && !end_) tunnel_.cut();
    }
    co_return *end_;
  }

 private:
  void on_tunnel_end(End end) override { end_ = end; }

  net::Socket& client_;
  SocketTunnel tunnel_;
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

net::Task<End> tunnel(net::Stream& client, net::Stream& upstream, IdleLimits limits, PipePool& pipes, Totals& totals) {
  if (client.is_plain() && upstream.is_plain()) {
    AwaitedTunnel awaited(client.socket(), upstream.socket(), limits, pipes, totals);
    co_return co_await awaited.run();
  }
  const StreamIdleGuard guard(client, upstream, limits, totals);
  StreamTunnel copied(client, upstream, pipes, totals);
  const auto end = co_await copied.run();
  if (guard.unanswered()) co_return End::no_answer;
  co_return guard.expired() ? End::idle : end;
}

}  // namespace sluice::relay

#include "relay/tunnel.h"

#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <limits>

namespace sluice::relay {
namespace {

using namespace boost::asio::experimental::awaitable_operators;  // NOLINT(google-build-using-namespace)
constexpr auto no_limit = std::numeric_limits<std::uint64_t>::max();

// One tunnel. The first thing that goes wrong decides how it ended; everything after is a consequence.
class Tunnel {
 public:
  Tunnel(net::Stream& client, net::Stream& upstream, PipePool& pipes, Totals& totals)
      : client_(client), upstream_(upstream), pipes_(pipes), totals_(totals) {}

  net::Task<End> run(IdleLimits limits) {
    const IdleGuard guard(client_, upstream_, limits, totals_);
    co_await (upward() && downward());
    client_.close();
    upstream_.close();
    if (guard.unanswered()) co_return End::no_answer;
    co_return guard.expired() ? End::idle : end_;
  }

 private:
  net::Task<void> upward() {
    const auto end = co_await move_bytes(client_, upstream_, no_limit, pipes_, totals_.sent);
    co_await settle(end, upstream_, End::client_reset, End::upstream_reset);
  }
  net::Task<void> downward() {
    const auto end = co_await move_bytes(upstream_, client_, no_limit, pipes_, totals_.received);
    co_await settle(end, client_, End::upstream_reset, End::client_reset);
  }

  net::Task<void> settle(MoveEnd end, net::Stream& to, End source_failed, End sink_failed) {
    if (end == MoveEnd::end_of_stream) co_return co_await to.finish_writing();
    if (end_ == End::finished) {
      const bool cut = !client_.is_open() || !upstream_.is_open();
      if (cut)
        end_ = End::cut;
      else if (end == MoveEnd::out_of_files)
        end_ = End::overloaded;
      else
        end_ = end == MoveEnd::read_failed ? source_failed : sink_failed;
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
  Tunnel state(client, upstream, pipes, totals);
  co_return co_await state.run(limits);
}

}  // namespace sluice::relay

#include "relay/http_relay.h"

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "relay/move.h"
#include "relay/refusal.h"

namespace sluice::relay {
namespace {

using namespace boost::asio::experimental::awaitable_operators;  // NOLINT(google-build-using-namespace)
constexpr std::size_t buffer_bytes = 16UL * 1024;
constexpr std::uint64_t worth_splicing = 64UL * 1024;

using Buffer = std::vector<std::uint8_t>;

void drop_front(Buffer& buffer, std::size_t count) {
  buffer.erase(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
}

// One request and its answer. Whatever fails first decides how it ended.
class Exchange {
 public:
  Exchange(net::Stream& client, net::Stream& upstream, const wire::RequestHead& head, Buffer& ahead, PipePool& pipes,
           Totals& totals)
      : client_(client), upstream_(upstream), head_(head), ahead_(ahead), pipes_(pipes), totals_(totals) {}

  enum class Outcome : std::uint8_t { failed, next, close, upgraded };

  net::Task<Outcome> run() {
    const bool sent = co_await send(upstream_, ByteSpan(ahead_).first(head_.wire_bytes), totals_.sent);
    drop_front(ahead_, head_.wire_bytes);
    if (sent)
      co_await (upward() && downward());
    else
      fail(End::upstream_reset);
    co_return failure_ ? Outcome::failed : outcome_;
  }
  // How it failed, after Outcome::failed.
  End failure() const { return *failure_; }

 private:
  // The request's body; then, until the answer is complete, the client's end is passed on.
  net::Task<void> upward() {
    const bool sent = co_await forward_body(client_, ahead_, upstream_, head_.framing, totals_.sent);
    if (answered_) {
      // What is left of a body that the upstream did not take is no request.
      if (!sent) outcome_ = Outcome::close;
      co_return;
    }
    if (!sent) co_return fail(End::client_reset);
    body_sent_ = true;
    if (!ahead_.empty()) co_return;
    const auto input = co_await client_.wait_input();
    if (answered_ || failure_) co_return;
    if (input == net::Input::broken) co_return fail(End::client_reset);
    if (input == net::Input::end) co_await upstream_.finish_writing();
  }

  // The answer: any number of interim heads, the final head, its body.
  net::Task<void> downward() {
    Buffer buffer;
    for (;;) {
      const auto parsed = wire::parse_response_head(buffer, head_.method);
      if (std::holds_alternative<wire::NeedMore>(parsed)) {
        const bool more = co_await net::append_next(upstream_, buffer, buffer_bytes);
        if (!more) co_return fail(End::upstream_reset);
        continue;
      }
      const auto* answer = std::get_if<wire::ResponseHead>(&parsed);
      if (!answer || (answer->status == 101 && !head_.upgrade)) co_return fail(End::malformed);
      const bool upgraded = answer->status == 101;
      const auto now = upgraded ? buffer.size() : answer->wire_bytes;
      if (!co_await send(client_, ByteSpan(buffer).first(now), totals_.received)) co_return fail(End::client_reset);
      drop_front(buffer, now);
      if (upgraded) co_return finish(Outcome::upgraded);
      if (answer->status < 200) continue;
      if (!co_await forward_body(upstream_, buffer, client_, answer->framing, totals_.received)) {
        co_return fail(End::upstream_reset);
      }
      // Bytes beyond the answer belong to no request of ours: this upstream connection cannot be trusted further.
      const bool persists = answer->keep_alive && head_.keep_alive && buffer.empty();
      co_return finish(persists ? Outcome::next : Outcome::close);
    }
  }

  void finish(Outcome outcome) {
    answered_ = true;
    outcome_ = outcome;
    // Ends the wait for the client's end, or a body that nobody wants any more.
    if (body_sent_ || outcome != Outcome::next) client_.cancel();
    if (!body_sent_ && outcome == Outcome::close) upstream_.close();
  }

  void fail(End end) {
    if (!failure_) failure_ = client_.is_open() ? end : End::cut;
    // Wakes the other direction.
    client_.reset();
    upstream_.reset();
  }

  static net::Task<bool> send(net::Stream& to, ByteSpan bytes, std::uint64_t& moved) {
    const bool sent = co_await to.write_all(bytes);
    if (sent) moved += bytes.size();
    co_return sent;
  }

  // Moves one message body; `ahead` holds what was read of `from` beyond the head, and in the end beyond the body.
  net::Task<bool> forward_body(net::Stream& from, Buffer& ahead, net::Stream& to, wire::Framing framing,
                               std::uint64_t& moved) {
    const bool ends_by_close = framing.kind == wire::Framing::Kind::until_close;
    wire::BodyReader body(framing);
    while (!body.done()) {
      if (ahead.empty() && body.certain_bytes() >= worth_splicing) {
        const auto before = moved;
        const auto end = co_await move_bytes(from, to, body.certain_bytes(), pipes_, moved);
        body.skip(moved - before);
        if (end != MoveEnd::limit) co_return false;
        continue;
      }
      bool more = true;
      if (ahead.empty()) more = co_await net::append_next(from, ahead, buffer_bytes);
      if (!more) co_return ends_by_close;
      const auto mine = body.consume(ahead);
      if (!mine || !co_await send(to, ByteSpan(ahead).first(*mine), moved)) co_return false;
      drop_front(ahead, *mine);
    }
    co_return true;
  }

  net::Stream& client_;
  net::Stream& upstream_;
  const wire::RequestHead& head_;
  Buffer& ahead_;
  PipePool& pipes_;
  Totals& totals_;
  Outcome outcome_ = Outcome::close;
  std::optional<End> failure_;
  bool body_sent_ = false;
  bool answered_ = false;
};

}  // namespace

net::Task<End> relay_http(net::Stream& client, FirstBytes first, HttpJudge& judge, HttpLimits limits, PipePool& pipes,
                          Totals& totals) {
  auto head = std::move(first.head);
  auto ahead = std::move(first.bytes);
  for (;;) {
    const auto routed = co_await judge.route(head, ByteSpan(ahead).first(head.wire_bytes));
    if (const auto* denial = std::get_if<HttpDenial>(&routed)) {
      co_await refuse(client, Sniffed::http, denial->reason, head.authority.host, denial->detail);
      co_return End::denied;
    }
    auto& upstream = *std::get<net::Stream*>(routed);
    Exchange exchange(client, upstream, head, ahead, pipes, totals);
    auto outcome = Exchange::Outcome::failed;
    {
      const StreamIdleGuard guard(client, upstream, {limits.idle}, totals);
      outcome = co_await exchange.run();
      if (guard.expired()) co_return End::idle;
    }
    if (outcome == Exchange::Outcome::failed) co_return exchange.failure();
    if (outcome == Exchange::Outcome::upgraded) {
      const bool sent = co_await upstream.write_all(ahead);
      if (!sent) co_return End::upstream_reset;
      totals.sent += ahead.size();
      co_return co_await tunnel(client, upstream, {limits.idle}, pipes, totals);
    }
    if (outcome == Exchange::Outcome::close) break;
    auto next = co_await read_request_head(client, ahead, limits.keep_alive, limits.head_timeout);
    if (!next) break;
    if (const auto* bad = std::get_if<Unreadable>(&*next)) {
      judge.refuse_unreadable(*bad);
      co_await refuse(client, Sniffed::http, bad->reason, {}, bad->detail);
      co_return End::denied;
    }
    head = std::move(std::get<wire::RequestHead>(*next));
  }
  co_await net::close_gently(client, limits.head_timeout);
  co_return End::finished;
}

}  // namespace sluice::relay

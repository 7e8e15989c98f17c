#include "relay/first_bytes.h"

#include <algorithm>
#include <array>

namespace sluice::relay {
namespace {

constexpr std::size_t read_bytes = 2048;  // most hellos in one read
// Up to this size a head is parsed after every read, which tells what is no HTTP at all; beyond it only once the empty
// line may be there, so that a client sending single bytes costs no quadratic work.
constexpr std::size_t eager_head_bytes = 512;

constexpr std::uint8_t tls_handshake = 0x16;  // RFC 8446 section 5.1

using HeadStep = std::variant<Undecided, wire::NotHttp, wire::RequestHead, Unreadable>;

// Overloads for std::visit.
template <typename... Handlers>
struct Match : Handlers... {
  using Handlers::operator()...;
};

Unreadable bad_http(Reason reason, std::string detail) {
  return {reason, std::move(detail), Sniffed::http, {}};
}

HeadStep step_head(ByteSpan bytes) {
  auto result = wire::parse_request_head(bytes);
  return std::visit(
      Match{
          [](wire::NeedMore) -> HeadStep { return Undecided{}; },
          [](wire::RequestHead& head) -> HeadStep { return std::move(head); },
          [](wire::NotHttp) -> HeadStep { return wire::NotHttp{}; },
          [](wire::Malformed bad) -> HeadStep { return bad_http(Reason::http_malformed, std::string(bad.what)); },
          [](wire::TooLarge) -> HeadStep { return bad_http(Reason::http_malformed, "head too large"); },
          [](wire::HostMissing) -> HeadStep { return bad_http(Reason::host_missing, "no Host field"); },
          [](wire::HostMismatch) -> HeadStep {
            return bad_http(Reason::host_mismatch, "request target and Host name different hosts");
          },
      },
      result);
}

// Is it worth parsing a head now that `bytes` grew from `before`?
bool may_be_complete(ByteSpan bytes, std::size_t before) {
  if (before < eager_head_bytes || bytes.size() >= wire::max_head_bytes) return true;
  constexpr std::array<std::uint8_t, 2> end = {'\n', '\r'};
  const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(before > 3 ? before - 3 : 0);
  return std::search(from, bytes.end(), end.begin(), end.end()) != bytes.end();
}

// What the bytes are; nullopt: more are needed. `before` were looked at already.
std::optional<FirstBytesResult> judge(std::vector<std::uint8_t>& bytes, std::size_t before) {
  if (bytes.empty()) return std::nullopt;
  auto step = classify_first_bytes(bytes, before);
  if (auto* bad = std::get_if<Unreadable>(&step)) {
    bad->bytes = std::move(bytes);
    return std::move(*bad);
  }
  if (auto* first = std::get_if<FirstBytes>(&step)) {
    first->bytes = std::move(bytes);
    return std::move(*first);
  }
  return std::nullopt;
}

// Goes on as far as it gets without waiting.
std::optional<FirstBytesResult> take(net::Stream& stream, std::vector<std::uint8_t>& bytes, std::size_t& before) {
  for (;;) {
    if (auto result = judge(bytes, before)) return result;
    before = bytes.size();
    const auto more = net::try_append(stream, bytes);
    if (!more) return std::nullopt;
    if (!*more) return ended_early(std::move(bytes), false);
  }
}

}  // namespace

FirstBytesStep classify_first_bytes(ByteSpan bytes, std::size_t before) {
  FirstBytes first;
  auto hello = wire::parse_client_hello(bytes);
  if (std::holds_alternative<wire::NeedMore>(hello)) return Undecided{};
  if (const auto* bad = std::get_if<wire::Malformed>(&hello)) {
    return Unreadable{Reason::hello_malformed, std::string(bad->what), Sniffed::tls, {}};
  }
  if (std::holds_alternative<wire::TooLarge>(hello)) {
    return Unreadable{Reason::hello_too_large, "ClientHello over 16 KiB", Sniffed::tls, {}};
  }
  if (auto* whole = std::get_if<wire::ClientHello>(&hello)) {
    first.sniffed = Sniffed::tls;
    first.hello = std::move(*whole);
    return first;
  }
  if (!may_be_complete(bytes, before)) return Undecided{};
  auto head = step_head(bytes);
  if (std::holds_alternative<Undecided>(head)) return Undecided{};
  if (auto* bad = std::get_if<Unreadable>(&head)) return std::move(*bad);
  if (auto* whole = std::get_if<wire::RequestHead>(&head)) {
    first.sniffed = Sniffed::http;
    first.head = std::move(*whole);
  } else {
    first.sniffed = Sniffed::opaque;
  }
  return first;
}

Unreadable ended_early(std::vector<std::uint8_t> bytes, bool timed_out) {
  Unreadable early;
  if (!bytes.empty()) early.sniffed = bytes.front() == tls_handshake ? Sniffed::tls : Sniffed::http;
  if (timed_out) {
    early.reason = Reason::hello_timeout;
    early.detail = "the first bytes took too long";
  } else {
    early.reason = early.sniffed == Sniffed::http ? Reason::http_malformed : Reason::hello_malformed;
    early.detail = bytes.empty() ? "ended before its first byte" : "ended within its first bytes";
  }
  early.bytes = std::move(bytes);
  return early;
}

std::optional<FirstBytesResult> take_first_bytes(net::Stream& stream, std::vector<std::uint8_t>& bytes) {
  std::size_t before = 0;
  return take(stream, bytes, before);
}

net::Task<FirstBytesResult> read_first_bytes(net::Stream& stream, std::vector<std::uint8_t> already,
                                             net::Milliseconds timeout) {
  const net::Deadline deadline(stream.socket(), timeout);
  auto bytes = std::move(already);
  std::size_t before = 0;
  for (;;) {
    if (auto result = take(stream, bytes, before)) co_return std::move(*result);
    const bool more = co_await net::append_next(stream, bytes, read_bytes);
    if (!more) co_return ended_early(std::move(bytes), deadline.expired());
  }
}

net::Task<std::optional<HeadResult>> read_request_head(net::Stream& stream, std::vector<std::uint8_t>& buffer,
                                                       net::Milliseconds idle, net::Milliseconds timeout) {
  if (buffer.empty()) {
    const net::Deadline deadline(stream.socket(), idle);
    const bool begun = co_await net::append_next(stream, buffer, read_bytes);
    if (!begun) co_return std::nullopt;
  }
  const net::Deadline deadline(stream.socket(), timeout);
  std::size_t before = 0;
  for (;;) {
    if (may_be_complete(buffer, before)) {
      auto head = step_head(buffer);
      if (auto* bad = std::get_if<Unreadable>(&head)) co_return std::move(*bad);
      if (auto* whole = std::get_if<wire::RequestHead>(&head)) co_return std::move(*whole);
      if (std::holds_alternative<wire::NotHttp>(head)) co_return bad_http(Reason::http_malformed, "not a request line");
    }
    before = buffer.size();
    const bool more = co_await net::append_next(stream, buffer, read_bytes);
    if (more) continue;
    if (deadline.expired()) co_return bad_http(Reason::hello_timeout, "the request head took too long");
    co_return bad_http(Reason::http_malformed, "ended within a request head");
  }
}

}  // namespace sluice::relay

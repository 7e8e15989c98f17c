// Reading a connection's first bytes until they say what it is and whom it calls, within bounds of size and time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/stream.h"
#include "policy/reason.h"
#include "policy/snapshot.h"
#include "wire/client_hello.h"
#include "wire/http_head.h"

namespace sluice::relay {

// What was read, and what it is. Everything read stands in `bytes` and still has to be sent on.
struct FirstBytes {
  std::vector<std::uint8_t> bytes;
  Sniffed sniffed = Sniffed::none;
  wire::ClientHello hello;  // sniffed == tls
  wire::RequestHead head;   // sniffed == http
};

// Bytes that no verdict can be made of.
struct Unreadable {
  Reason reason = Reason::hello_malformed;
  std::string detail;
  Sniffed sniffed = Sniffed::none;  // what they looked like, for the answer
  std::vector<std::uint8_t> bytes;  // all that was read of a connection's first bytes
};

// One look at the first bytes so far, of which `before` were looked at already; what it returns has no `bytes`.
struct Undecided {};
using FirstBytesStep = std::variant<Undecided, FirstBytes, Unreadable>;
FirstBytesStep classify_first_bytes(ByteSpan bytes, std::size_t before);
// The connection ended, or its time did, before its first bytes were whole.
Unreadable ended_early(std::vector<std::uint8_t> bytes, bool timed_out);

using FirstBytesResult = std::variant<FirstBytes, Unreadable>;

// `already` are bytes that were read before (behind a PROXY header).
net::Task<FirstBytesResult> read_first_bytes(net::Stream& stream, std::vector<std::uint8_t> already,
                                             net::Milliseconds timeout);

// The same with `bytes` and what is there behind them without waiting; nullopt: `bytes` are all so far, and more have
// to be waited for.
std::optional<FirstBytesResult> take_first_bytes(net::Stream& stream, std::vector<std::uint8_t>& bytes);

// Reads until `buffer`, which may hold some already, begins with a whole request head, which stays in it; for the
// requests after the first. nullopt: the client ended the connection between two requests, as it may.
using HeadResult = std::variant<wire::RequestHead, Unreadable>;
net::Task<std::optional<HeadResult>> read_request_head(net::Stream& stream, std::vector<std::uint8_t>& buffer,
                                                       net::Milliseconds idle, net::Milliseconds timeout);

}  // namespace sluice::relay

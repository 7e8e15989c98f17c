#include "tests/fuzz/fuzz.h"
#include "wire/host_name.h"
#include "wire/proxy_v2.h"

namespace sluice::wire {
namespace {

using test::require;

bool same(const ProxyResult& left, const ProxyResult& right) {
  if (left.index() != right.index()) return false;
  if (const auto* malformed = std::get_if<Malformed>(&left)) return malformed->what == std::get<Malformed>(right).what;
  if (const auto* parsed = std::get_if<ParsedProxyHeader>(&left)) {
    const auto& other = std::get<ParsedProxyHeader>(right);
    return parsed->header == other.header && parsed->wire_bytes == other.wire_bytes;
  }
  return true;
}

void check_round_trip(const ProxyHeader& header) {
  const auto bytes = encode_proxy_header(header);
  const auto again = parse_proxy_header(bytes);
  const auto* parsed = std::get_if<ParsedProxyHeader>(&again);
  require(parsed != nullptr && parsed->header == header, "what is sent is what is read");
  require(parsed->wire_bytes == bytes.size(), "all of it is the header");
}

}  // namespace
}  // namespace sluice::wire

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::wire;
  const sluice::ByteSpan bytes(data, size);
  const auto whole = parse_proxy_header(bytes);
  if (size >= max_proxy_header_bytes) require(!std::holds_alternative<NeedMore>(whole), "waiting has an end");
  for (std::size_t cut = 0; cut < size; ++cut) {
    const auto early = parse_proxy_header(bytes.first(cut));
    require(std::holds_alternative<NeedMore>(early) || same(early, whole), "more bytes do not change a result");
  }
  if (const auto* parsed = std::get_if<ParsedProxyHeader>(&whole)) {
    require(parsed->wire_bytes <= size, "the header is within the input");
    const auto& authority = parsed->header.authority;
    require(authority.empty() || normalise_host(authority) == authority, "a normalised name is a fixed point");
    check_round_trip(parsed->header);
  }
  return 0;
}

#include <algorithm>
#include <optional>

#include "tests/fuzz/fuzz.h"
#include "wire/host_name.h"
#include "wire/proxy_v2.h"

namespace sluice::wire {
namespace {

using test::require;

// Of two parses of the same memory.
bool same(const std::optional<HeaderSeal>& left, const std::optional<HeaderSeal>& right) {
  if (!left || !right) return !left && !right;
  return left->stamp == right->stamp && left->mac == right->mac &&
         left->signed_bytes.data() == right->signed_bytes.data() &&
         left->signed_bytes.size() == right->signed_bytes.size();
}

bool same(const ProxyResult& left, const ProxyResult& right) {
  if (left.index() != right.index()) return false;
  if (const auto* malformed = std::get_if<Malformed>(&left)) return malformed->what == std::get<Malformed>(right).what;
  if (const auto* parsed = std::get_if<ParsedProxyHeader>(&left)) {
    const auto& other = std::get<ParsedProxyHeader>(right);
    return parsed->header == other.header && parsed->wire_bytes == other.wire_bytes && same(parsed->seal, other.seal);
  }
  return true;
}

void check_round_trip(const ProxyHeader& header, const std::optional<HeaderSeal>& seal) {
  const auto bytes = seal ? encode_proxy_header(header, seal->stamp) : encode_proxy_header(header);
  const auto again = parse_proxy_header(bytes);
  const auto* parsed = std::get_if<ParsedProxyHeader>(&again);
  require(parsed != nullptr && parsed->header == header, "what is sent is what is read");
  require(parsed->wire_bytes == bytes.size(), "all of it is the header");
  require(parsed->seal.has_value() == seal.has_value(), "signed stays signed");
  if (seal) require(parsed->seal->stamp == seal->stamp, "the stamp that is sent is the one that is read");
}

void check_seal(const ParsedProxyHeader& parsed, ByteSpan bytes) {
  const auto& seal = *parsed.seal;
  require(seal.signed_bytes.data() == bytes.data(), "what is signed begins where the header does");
  require(seal.signed_bytes.size() + header_mac_bytes == parsed.wire_bytes, "only the MAC goes unsigned");
  const auto mac = bytes.subspan(seal.signed_bytes.size(), header_mac_bytes);
  require(std::equal(mac.begin(), mac.end(), seal.mac.begin()), "the MAC is what follows");
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
    if (parsed->seal) check_seal(*parsed, bytes);
    check_round_trip(parsed->header, parsed->seal);
  }
  return 0;
}

#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "wire/http_head.h"

namespace sluice::wire {
namespace {

using test::require;

template <typename Result>
bool same_kind(const Result& left, const Result& right) {
  if (left.index() != right.index()) return false;
  const auto* malformed = std::get_if<Malformed>(&left);
  return malformed == nullptr || malformed->what == std::get<Malformed>(right).what;
}

void check_authority(const Authority& authority) {
  if (!authority.is_ip) {
    require(normalise_host(authority.host) == authority.host, "a normalised name is a fixed point");
  }
  const bool bracketed = authority.host.find(':') != std::string::npos;
  auto text = bracketed ? "[" + authority.host + "]" : authority.host;
  if (authority.port) text += ":" + std::to_string(*authority.port);
  const auto again = parse_authority(text);
  require(again && again->host == authority.host && again->port == authority.port && again->is_ip == authority.is_ip,
          "an authority is read back as it was");
}

void check(const RequestHead& head) {
  require(!head.method.empty() && !head.path.empty(), "a request has a method and a path");
  require(head.path.front() == '/' || head.path == "*", "a path begins at the root");
  require(head.minor_version <= 1, "HTTP/1.0 or HTTP/1.1");
  require(head.framing.kind != Framing::Kind::until_close, "a request does not end with the connection");
  check_authority(head.authority);
}

void check(const ResponseHead& head) {
  require(head.status >= 100 && head.status <= 999 && head.minor_version <= 1, "status and version are in range");
  require(head.framing.kind != Framing::Kind::until_close || !head.keep_alive,
          "what ends by closing is not kept alive");
}

// `Head` is what a sound head gives.
template <typename Head, typename Parse>
void check_parser(ByteSpan bytes, Parse parse) {
  const auto whole = parse(bytes);
  if (bytes.size() >= max_head_bytes) require(!std::holds_alternative<NeedMore>(whole), "waiting has an end");
  const auto step = std::max<std::size_t>(bytes.size() / 64, 1);
  for (std::size_t cut = 0; cut < bytes.size(); cut += step) {
    const auto early = parse(bytes.first(cut));
    require(std::holds_alternative<NeedMore>(early) || same_kind(early, whole), "more bytes do not change a result");
  }
  if (const auto* head = std::get_if<Head>(&whole)) {
    require(head->wire_bytes <= bytes.size() && head->wire_bytes <= max_head_bytes, "the head is within the input");
    const auto end = bytes.subspan(head->wire_bytes - 4, 4);
    require(std::equal(end.begin(), end.end(), "\r\n\r\n"), "the head ends with an empty line");
    require(std::holds_alternative<NeedMore>(parse(bytes.first(head->wire_bytes - 1))), "it ends at its last byte");
    check(*head);
  }
}

}  // namespace
}  // namespace sluice::wire

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::wire;
  const sluice::ByteSpan bytes(data, size);
  for (const auto scheme : {TargetScheme::http, TargetScheme::http_or_https}) {
    check_parser<RequestHead>(bytes, [&](sluice::ByteSpan part) { return parse_request_head(part, scheme); });
  }
  for (const std::string_view method : {"GET", "HEAD"}) {
    check_parser<ResponseHead>(bytes, [&](sluice::ByteSpan part) { return parse_response_head(part, method); });
  }
  return 0;
}

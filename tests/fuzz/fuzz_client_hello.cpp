#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "tests/support/hello_builder.h"
#include "wire/client_hello.h"
#include "wire/host_name.h"

namespace sluice::wire {
namespace {

using test::require;

bool same(const HelloResult& left, const HelloResult& right) {
  if (left.index() != right.index()) return false;
  if (const auto* hello = std::get_if<ClientHello>(&left)) return *hello == std::get<ClientHello>(right);
  if (const auto* malformed = std::get_if<Malformed>(&left)) return malformed->what == std::get<Malformed>(right).what;
  return true;
}

void check_hello(const ClientHello& hello, ByteSpan bytes) {
  require(hello.wire_bytes <= bytes.size() && hello.wire_bytes <= max_hello_bytes, "the hello is within the input");
  require(hello.sni.empty() || normalise_host(hello.sni) == hello.sni, "a normalised name is a fixed point");
  require(hello.ja4.size() == 36 && hello.ja4[10] == '_' && hello.ja4[23] == '_', "JA4 has its form");
  require((hello.ja4[3] == 'd') == !hello.sni.empty(), "JA4 knows whether there is a name");
  for (const auto& name : hello.alpn) require(!name.empty(), "no protocol name is empty");
  for (const auto version : hello.versions) require(!version_name(version).empty(), "every version has a name");
}

// The message as its records hold it.
test::Bytes message_of(ByteSpan wire) {
  test::Bytes message;
  for (ByteReader reader(wire); reader.remaining() >= 5;) {
    reader.take(3);
    const std::size_t length = reader.u16();
    const auto fragment = reader.take(std::min(length, reader.remaining()));
    message.insert(message.end(), fragment.begin(), fragment.end());
  }
  return message;
}

void check_other_split(const ClientHello& hello, ByteSpan wire, std::size_t record_bytes) {
  const auto split = test::in_records(message_of(wire), record_bytes);
  if (split.size() > max_hello_bytes) return;
  const auto result = parse_client_hello(split);
  auto expected = hello;
  expected.wire_bytes = split.size();
  require(same(result, expected), "another split in records gives the same hello");
}

}  // namespace
}  // namespace sluice::wire

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::wire;
  const sluice::ByteSpan bytes(data, size);
  const auto whole = parse_client_hello(bytes);
  if (size >= max_hello_bytes) require(!std::holds_alternative<NeedMore>(whole), "waiting has an end");

  const auto step = std::max<std::size_t>(size / 64, 1);
  for (std::size_t cut = 0; cut < size; cut += step) {
    const auto early = parse_client_hello(bytes.first(cut));
    require(std::holds_alternative<NeedMore>(early) || same(early, whole), "more bytes do not change a result");
  }
  if (const auto* hello = std::get_if<ClientHello>(&whole)) {
    check_hello(*hello, bytes);
    require(std::holds_alternative<NeedMore>(parse_client_hello(bytes.first(hello->wire_bytes - 1))),
            "the hello ends at its last byte");
    for (const std::size_t record_bytes : {1U, 7U, 16384U}) {
      check_other_split(*hello, bytes.first(hello->wire_bytes), record_bytes);
    }
  }
  return 0;
}

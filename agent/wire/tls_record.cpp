#include "wire/tls_record.h"

#include <algorithm>
#include <array>

namespace sluice::wire {
namespace {

constexpr std::uint8_t handshake_content = 22;
constexpr std::uint8_t client_hello_type = 1;
constexpr std::size_t max_fragment_bytes = 1 << 14;

// The first four bytes of the message, which may come one a record.
struct HandshakeHeader {
  std::array<std::uint8_t, handshake_header_bytes> bytes{};
  std::size_t seen = 0;

  void feed(ByteSpan fragment) {
    const auto count = std::min(bytes.size() - seen, fragment.size());
    std::copy_n(fragment.begin(), count, bytes.begin() + seen);
    seen += count;
  }
  bool wrong_type() const { return seen > 0 && bytes[0] != client_hello_type; }
  bool complete() const { return seen == bytes.size(); }
  std::size_t message_bytes() const {
    return handshake_header_bytes + (std::size_t{bytes[1]} << 16 | std::size_t{bytes[2]} << 8 | bytes[3]);
  }
};

}  // namespace

ExtentResult find_hello(ByteSpan bytes) {
  HandshakeHeader header;
  std::size_t seen = 0;  // bytes of the message in the records before this one
  for (std::size_t at = 0;;) {
    const auto record = bytes.subspan(std::min(at, bytes.size()));
    const bool first = at == 0;
    if (!record.empty() && record[0] != handshake_content) {
      return first ? ExtentResult(NotTls{}) : ExtentResult(Malformed{"record type"});
    }
    // The minor version says nothing (RFC 8446 section 5.1), the major one has been 3 since SSL 3.0.
    if (record.size() > 1 && record[1] != 3) {
      return first ? ExtentResult(NotTls{}) : ExtentResult(Malformed{"record version"});
    }
    if (record.size() < record_header_bytes) return NeedMore{};
    const std::size_t length = std::size_t{record[3]} << 8 | record[4];
    if (length == 0 || length > max_fragment_bytes) return Malformed{"record length"};

    const auto fragment = record.subspan(record_header_bytes);
    header.feed(fragment.first(std::min(length, fragment.size())));
    if (header.wrong_type()) return Malformed{"handshake type"};
    if (header.complete()) {
      const auto rest = header.message_bytes() - seen;
      const auto end = at + record_header_bytes + rest;
      if (end + (rest > length ? record_header_bytes : 0) > max_hello_bytes) return TooLarge{};
      if (rest <= length) {
        if (end > bytes.size()) return NeedMore{};
        return HelloExtent{header.message_bytes(), end, first};
      }
    }
    seen += length;
    at += record_header_bytes + length;
  }
}

void join_records(ByteSpan bytes, std::span<std::uint8_t> message) {
  ByteReader records(bytes);
  while (!message.empty()) {
    records.take(3);
    // The last record may hold more than the message, and that may still be on its way.
    const std::size_t length = records.u16();
    const auto fragment = records.take(std::min(length, message.size()));
    std::copy(fragment.begin(), fragment.end(), message.begin());
    message = message.subspan(fragment.size());
  }
}

}  // namespace sluice::wire

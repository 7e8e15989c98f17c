// Input: one byte that says how the body is cut, then a chunked body and what follows it.
#include <algorithm>
#include <string>

#include "tests/fuzz/fuzz.h"
#include "wire/http_head.h"

namespace sluice::wire {
namespace {

using test::require;

struct Outcome {
  std::size_t taken = 0;
  bool done = false;
  bool broken = false;
  bool operator==(const Outcome&) const = default;
};

Outcome read_in_pieces(ByteSpan bytes, std::size_t piece_bytes) {
  BodyReader reader({Framing::Kind::chunked, 0});
  Outcome outcome;
  while (outcome.taken < bytes.size() && !reader.done()) {
    const auto rest = bytes.subspan(outcome.taken);
    const auto piece = rest.first(std::min(piece_bytes, rest.size()));
    const auto taken = reader.consume(piece);
    if (!taken) return {0, false, true};
    require(*taken <= piece.size(), "it takes no more than it is shown");
    require(*taken == piece.size() || reader.done(), "only the end of the body leaves bytes");
    outcome.taken += *taken;
  }
  outcome.done = reader.done();
  return outcome;
}

// Passes over certain bytes unseen, as splicing does.
Outcome read_skipping(ByteSpan bytes) {
  BodyReader reader({Framing::Kind::chunked, 0});
  Outcome outcome;
  while (outcome.taken < bytes.size() && !reader.done()) {
    const auto left = bytes.size() - outcome.taken;
    if (const auto certain = std::min<std::uint64_t>(reader.certain_bytes(), left); certain > 0) {
      reader.skip(certain);
      outcome.taken += certain;
      continue;
    }
    const auto taken = reader.consume(bytes.subspan(outcome.taken, 1));
    if (!taken) return {0, false, true};
    outcome.taken += *taken;
  }
  outcome.done = reader.done();
  return outcome;
}

// A plain second reading of the whole, for bodies without extensions and trailers: SIZE CRLF DATA CRLF ... 0 CRLF CRLF.
bool is_plain_body(std::string_view text) {
  while (true) {
    const auto line_end = text.find("\r\n");
    const auto line = text.substr(0, line_end);
    if (line_end == text.npos || line.empty() || line.size() > 15) return false;
    if (line.find_first_not_of("0123456789abcdefABCDEF") != line.npos) return false;
    const auto size = std::stoull(std::string(line), nullptr, 16);
    text.remove_prefix(line_end + 2);
    if (size == 0) return text == "\r\n";
    if (text.size() < 2 || text.size() - 2 < size || text.substr(size, 2) != "\r\n") return false;
    text.remove_prefix(size + 2);
  }
}

}  // namespace
}  // namespace sluice::wire

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::wire;
  if (size == 0) return 0;
  const sluice::ByteSpan bytes(data + 1, size - 1);
  const auto whole = read_in_pieces(bytes, std::max<std::size_t>(bytes.size(), 1));
  require(read_in_pieces(bytes, data[0] % 16 + 1) == whole, "the split does not matter");
  require(read_skipping(bytes) == whole, "skipping is as good as showing");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (is_plain_body(text)) require(whole.done && whole.taken == text.size(), "a plain body is read to its end");
  if (whole.done) require(text.substr(0, whole.taken).ends_with("\r\n\r\n"), "a body ends with an empty line");
  return 0;
}

#include "tests/fuzz/fuzz.h"
#include "wire/tcp_segment.h"

namespace sluice::wire {
namespace {

using test::require;

void check(const TcpSegment& segment, ByteSpan frame) {
  const auto begin = static_cast<std::size_t>(segment.payload.data() - frame.data());
  require(begin <= frame.size() && segment.payload.size() <= frame.size() - begin, "the payload is within the frame");
  const auto written = build_tcp_frame(segment);
  require(!written.empty(), "what was read can be written");
  const auto again = parse_tcp_frame(written);
  require(again && build_tcp_frame(*again) == written, "what is written is read back");
}

}  // namespace
}  // namespace sluice::wire

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::wire;
  const sluice::ByteSpan frame(data, size);
  const auto whole = parse_tcp_frame(frame);
  const auto cut = parse_cut_tcp_frame(frame);
  if (whole) require(cut && build_tcp_frame(*cut) == build_tcp_frame(*whole), "what is whole is not cut");
  if (cut) check(*cut, frame);
  return 0;
}

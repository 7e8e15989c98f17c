// What reading the first bytes of a connection costs.
#include <benchmark/benchmark.h>

#include "tests/support/hello_builder.h"
#include "wire/client_hello.h"
#include "wire/http_head.h"
#include "wire/ja4.h"
#include "wire/tls_record.h"

namespace sluice::wire {
namespace {

test::Bytes hello_bytes(std::int64_t record_bytes) {
  return test::chrome_like_hello("www.example.com").wire(static_cast<std::size_t>(record_bytes));
}

// A Chrome-like hello of 1.9 KB, in one record, in three, and in records of one byte. JA4 is included.
void parse_hello(benchmark::State& state) {
  const auto bytes = hello_bytes(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(parse_client_hello(bytes));
}
BENCHMARK(parse_hello)->ArgName("record_bytes")->Arg(16384)->Arg(700)->Arg(1);

void parse_plain_hello(benchmark::State& state) {
  const auto bytes = test::plain_hello("www.example.com").wire();
  for (auto _ : state) benchmark::DoNotOptimize(parse_client_hello(bytes));
}
BENCHMARK(parse_plain_hello);

// The share of the fingerprint in parse_hello.
void fingerprint_hello(benchmark::State& state) {
  const auto hello = test::chrome_like_hello("");
  const auto ciphers = test::u16_list(hello.ciphers);
  const auto signatures = test::u16_list({0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601});
  const std::vector<std::uint16_t> versions = {0x0304, 0x0303};
  std::vector<std::uint16_t> types;
  for (const auto& extension : hello.extensions) types.push_back(extension.type);
  std::sort(types.begin(), types.end());
  for (auto _ : state) benchmark::DoNotOptimize(ja4_fingerprint({versions, true, ciphers, types, "h2", signatures}));
}
BENCHMARK(fingerprint_hello);

// What a caller pays for asking again while the hello is not all there.
void wait_for_hello(benchmark::State& state) {
  auto bytes = hello_bytes(state.range(0));
  bytes.pop_back();
  for (auto _ : state) benchmark::DoNotOptimize(parse_client_hello(bytes));
}
BENCHMARK(wait_for_hello)->ArgName("record_bytes")->Arg(16384)->Arg(700)->Arg(1);

// The most expensive hello that fits: nothing but cipher suites, in descending order.
void parse_crafted_hello(benchmark::State& state) {
  test::Hello hello;
  hello.ciphers.clear();
  for (std::uint16_t value = 8150; value > 0; --value) hello.ciphers.push_back(value);
  const auto bytes = hello.wire();
  for (auto _ : state) benchmark::DoNotOptimize(parse_client_hello(bytes));
}
BENCHMARK(parse_crafted_hello);

void parse_request(benchmark::State& state) {
  const auto bytes = test::to_bytes(
      "GET /a/b?c=d HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
      "Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef\r\n\r\n");
  for (auto _ : state) benchmark::DoNotOptimize(parse_request_head(bytes));
}
BENCHMARK(parse_request);

}  // namespace
}  // namespace sluice::wire

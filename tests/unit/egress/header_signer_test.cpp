#include "egress/header_signer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <span>
#include <thread>

#include "base/clock.h"
#include "tls/digest.h"

namespace sluice::egress {
namespace {

using testing::HasSubstr;

const std::string old_key(64, 'a');
const std::string new_key(64, 'b');

std::string keys_yaml(const std::vector<std::string>& keys) {
  std::string yaml = "keys:\n";
  for (const auto& key : keys) yaml += "  - \"" + key + "\"\n";
  return yaml;
}

struct HeaderSignerTest : testing::Test {
  const std::string path = testing::TempDir() + "header_signer_test." + std::to_string(::getpid()) + ".yaml";
  wire::ProxyHeader header;
  std::unique_ptr<HeaderSigner> signer;

  HeaderSignerTest() {
    header.source = *Endpoint::parse("10.1.0.5:40000");
    header.destination = *Endpoint::parse("203.0.113.9:443");
    header.node = "node-a";
  }
  ~HeaderSignerTest() override { std::filesystem::remove(path); }

  // Another file each time.
  void write(const std::string& text) const {
    std::ofstream(path + ".new") << text;
    std::filesystem::rename(path + ".new", path);
  }
  void open(const std::string& text) {
    write(text);
    auto opened = HeaderSigner::open(path);
    ASSERT_TRUE(opened) << opened.error().message();
    signer = *std::move(opened);
  }
  // The first byte of the key that a header is signed with; 0: with none of ours.
  int signed_with(const std::vector<std::uint8_t>& bytes) const {
    const auto result = wire::parse_proxy_header(bytes);
    const auto* parsed = std::get_if<wire::ParsedProxyHeader>(&result);
    if (parsed == nullptr || !parsed->seal || parsed->header != header) return 0;
    for (const int byte : {0xaa, 0xbb}) {
      const std::vector<std::uint8_t> key(32, static_cast<std::uint8_t>(byte));
      const auto id = tls::sha256(key);
      if (tls::hmac_sha256(key, parsed->seal->signed_bytes) == parsed->seal->mac &&
          std::ranges::equal(parsed->seal->stamp.key_id, std::span(id).first(4))) {
        return byte;
      }
    }
    return 0;
  }
};

TEST_F(HeaderSignerTest, signs_with_the_newest_key) {
  open(keys_yaml({new_key, old_key}));
  EXPECT_EQ(signed_with(signer->sign(header)), 0xbb);
  EXPECT_FALSE(signer->wrong());
}

TEST_F(HeaderSignerTest, each_header_has_its_own_nonce_and_the_present_time) {
  open(keys_yaml({new_key}));
  std::set<std::array<std::uint8_t, 16>> nonces;
  for (int i = 0; i < 100; ++i) {
    const auto before_ms = static_cast<std::uint64_t>(wall_ns() / 1'000'000);
    const auto bytes = signer->sign(header);
    const auto result = wire::parse_proxy_header(bytes);
    const auto& stamp = std::get<wire::ParsedProxyHeader>(result).seal->stamp;
    EXPECT_TRUE(nonces.insert(stamp.nonce).second);
    EXPECT_GE(stamp.time_ms, before_ms);
    EXPECT_LE(stamp.time_ms, static_cast<std::uint64_t>(wall_ns() / 1'000'000));
  }
}

TEST_F(HeaderSignerTest, without_a_key_there_is_no_signer) {
  const auto missing = HeaderSigner::open(path);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message(), HasSubstr(path + ": No such file"));
  write("keys: []");
  const auto empty = HeaderSigner::open(path);
  ASSERT_FALSE(empty);
  EXPECT_THAT(empty.error().message(), HasSubstr(path + ":1: keys: is required"));
}

TEST_F(HeaderSignerTest, takes_up_a_new_key_and_keeps_the_old_one_when_the_file_is_bad) {
  open(keys_yaml({old_key}));
  write(keys_yaml({new_key, old_key}));
  signer->reload();
  EXPECT_EQ(signed_with(signer->sign(header)), 0xbb);
  write("keys: [");
  for (int round = 0; round < 2; ++round) {
    signer->reload();
    EXPECT_EQ(signed_with(signer->sign(header)), 0xbb);
    ASSERT_TRUE(signer->wrong());
    EXPECT_THAT(*signer->wrong(), HasSubstr(path + ":1: not valid YAML"));
  }
  std::filesystem::remove(path);
  signer->reload();
  EXPECT_EQ(signed_with(signer->sign(header)), 0xbb);
  ASSERT_TRUE(signer->wrong());
  EXPECT_THAT(*signer->wrong(), HasSubstr("No such file"));
  write(keys_yaml({old_key}));
  signer->reload();
  EXPECT_EQ(signed_with(signer->sign(header)), 0xaa);
  EXPECT_FALSE(signer->wrong());
}

TEST_F(HeaderSignerTest, threads_sign_with_one_of_the_keys_while_they_change) {
  open(keys_yaml({old_key}));
  std::atomic<bool> stop = false;
  std::atomic<int> bad = 0;
  std::atomic<int> signed_headers = 0;
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 2; ++i) {
      workers.emplace_back([&] {
        while (!stop) {
          if (signed_with(signer->sign(header)) == 0) ++bad;
          ++signed_headers;
        }
      });
    }
    for (int i = 0; i < 200 || signed_headers < 1000; ++i) {
      write(keys_yaml({i % 2 == 0 ? new_key : old_key}));
      signer->reload();
    }
    stop = true;
  }
  EXPECT_EQ(bad, 0);
}

}  // namespace
}  // namespace sluice::egress

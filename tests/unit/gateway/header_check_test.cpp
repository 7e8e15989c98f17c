#include "gateway/header_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/gateway/node_files.h"

namespace sluice::gateway {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t now_ms = 1'767'225'600'000;
constexpr std::uint64_t age_ms = 10'000;
const Endpoint peer = *Endpoint::parse("192.168.0.7:41000");

// A gateway that knows node-a with keys 2 (new) and 1 (old) and node-b with key 3, and an agent on node-a.
struct HeaderCheckTest : testing::Test {
  test::NodeFiles files;
  settings::Gateway settings;
  settings::Listen listen;
  std::unique_ptr<NodeKeyring> keyring;
  std::unique_ptr<HeaderCheck> gateway;
  wire::ProxyHeader header;
  wire::HeaderStamp stamp{.key_id = {}, .time_ms = now_ms, .nonce = {}};
  settings::NodeKey key = test::key(2);

  HeaderCheckTest() {
    files.write("node-a.yaml", test::node_yaml({2, 1}, "10.1.0.0/24, \"fd00:1::/64\""));
    files.write("node-b.yaml", test::node_yaml({3}, "10.2.0.0/24"));
    settings.name = "egress.example";
    settings.header_age = settings::Milliseconds(age_ms);
    keyring = *NodeKeyring::open(files.path());
    gateway = std::make_unique<HeaderCheck>(settings, *keyring);
    header.source = *Endpoint::parse("10.1.0.5:40000");
    header.destination = *Endpoint::parse("203.0.113.9:443");
    header.authority = "api.example";
    header.node = "node-a";
    header.pod_name = "cart";
    header.gateway = settings.name;
    header.hop_source = peer;
  }

  Bytes signed_header() {
    ++stamp.nonce[0];
    return test::sign(header, stamp, key);
  }
  // The node whose word it is, or why it is refused.
  std::string answer(const Bytes& bytes, const Endpoint& from = peer, std::uint64_t at_ms = now_ms) {
    const auto parsed = wire::parse_proxy_header(bytes);
    const auto* complete = std::get_if<wire::ParsedProxyHeader>(&parsed);
    if (complete == nullptr) return "unreadable";
    const auto result = gateway->check(*complete, from, listen, at_ms);
    if (const auto* refusal = std::get_if<HeaderRefusal>(&result)) return refusal->detail;
    const auto& verified = std::get<VerifiedHeader>(result);
    return verified.identity_known() ? verified.node : "unknown";
  }
};

TEST_F(HeaderCheckTest, a_signed_header_is_believed) {
  EXPECT_EQ(answer(signed_header()), "node-a");
  header.source = *Endpoint::parse("[fd00:1::5]:40000");
  EXPECT_EQ(answer(signed_header()), "node-a");
}

TEST_F(HeaderCheckTest, an_unsigned_header_is_refused_but_from_where_it_may_be) {
  const auto bytes = wire::encode_proxy_header(header);
  EXPECT_EQ(answer(bytes), "the header is not signed");
  listen.unsigned_from = {*Cidr::parse("192.168.1.0/24")};
  EXPECT_EQ(answer(bytes), "the header is not signed");
  listen.unsigned_from.push_back(*Cidr::parse("192.168.0.0/24"));
  EXPECT_EQ(answer(bytes), "unknown");
  EXPECT_EQ(answer(signed_header()), "node-a");
}

TEST_F(HeaderCheckTest, a_wrong_signature_is_no_better_where_headers_may_be_unsigned) {
  listen.unsigned_from = {*Cidr::parse("192.168.0.0/24")};
  auto bytes = signed_header();
  bytes.back() ^= 1;
  EXPECT_EQ(answer(bytes), "the signature is not node node-a's");
}

TEST_F(HeaderCheckTest, a_header_with_any_byte_changed_is_refused_and_uses_nothing_up) {
  const auto bytes = signed_header();
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int change : {0x01, 0x20, 0x80, 0xff}) {
      auto forged = bytes;
      forged[at] = static_cast<std::uint8_t>(forged[at] ^ change);
      EXPECT_NE(answer(forged), "node-a") << at;
    }
  }
  EXPECT_EQ(answer(bytes), "node-a");
}

TEST_F(HeaderCheckTest, a_header_cut_anywhere_is_not_believed) {
  const auto bytes = signed_header();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(answer(cut), "unreadable");
    // Also when its length says that this is all.
    auto shortened = cut;
    if (size < 28) continue;
    shortened[14] = static_cast<std::uint8_t>((size - 16) >> 8);
    shortened[15] = static_cast<std::uint8_t>(size - 16);
    const auto told = answer(shortened);
    EXPECT_TRUE(told == "unreadable" || told == "the header is not signed") << size << ": " << told;
  }
}

TEST_F(HeaderCheckTest, a_node_speaks_with_its_own_keys_alone) {
  key = test::key(3);
  EXPECT_EQ(answer(signed_header()), "signed with a key that node node-a does not have");
  key.id = test::key(2).id;
  EXPECT_EQ(answer(signed_header()), "the signature is not node node-a's");
  key = test::key(2);
  header.node = "node-b";
  EXPECT_EQ(answer(signed_header()), "signed with a key that node node-b does not have");
  header.node = "node-c";
  EXPECT_EQ(answer(signed_header()), "no keys are known of node \"node-c\"");
  header.node = "";
  EXPECT_EQ(answer(signed_header()), "no keys are known of node \"\"");
}

TEST_F(HeaderCheckTest, a_node_speaks_for_its_own_pods_alone) {
  header.source = *Endpoint::parse("10.2.0.5:40000");
  EXPECT_EQ(answer(signed_header()), "10.2.0.5 is not in the ranges of node node-a");
  header.source = *Endpoint::parse("[fd00:2::5]:40000");
  EXPECT_EQ(answer(signed_header()), "fd00:2::5 is not in the ranges of node node-a");
  listen.translated = true;
  EXPECT_EQ(answer(signed_header()), "fd00:2::5 is not in the ranges of node node-a");
}

TEST_F(HeaderCheckTest, a_header_is_good_for_its_age_and_no_longer) {
  stamp.time_ms = now_ms - age_ms;
  EXPECT_EQ(answer(signed_header()), "node-a");
  stamp.time_ms = now_ms - age_ms - 1;
  EXPECT_EQ(answer(signed_header()), "the header was signed 10001 ms ago, more than 10000");
  stamp.time_ms = 0;
  EXPECT_THAT(answer(signed_header()), testing::StartsWith("the header was signed 1767225600000 ms ago"));
  stamp.time_ms = now_ms + age_ms;
  EXPECT_EQ(answer(signed_header()), "node-a");
  stamp.time_ms = now_ms + age_ms + 1;
  EXPECT_EQ(answer(signed_header()),
            "the header was signed 10001 ms in the future, more than 10000: compare the clocks");
  stamp.time_ms = ~std::uint64_t{0};
  EXPECT_THAT(answer(signed_header()), testing::HasSubstr("in the future"));
}

TEST_F(HeaderCheckTest, a_header_is_for_the_gateway_that_it_names) {
  header.gateway = "other.example";
  EXPECT_EQ(answer(signed_header()), "the header is for gateway other.example");
  header.gateway = "";
  EXPECT_EQ(answer(signed_header()), "the header does not say for which gateway it is");
}

TEST_F(HeaderCheckTest, a_header_is_believed_once) {
  const auto bytes = signed_header();
  EXPECT_EQ(answer(bytes), "node-a");
  EXPECT_EQ(answer(bytes), "the header was used before");
  EXPECT_EQ(answer(bytes, peer, now_ms + age_ms), "the header was used before");
  EXPECT_EQ(answer(bytes, peer, now_ms + age_ms + 1), "the header was signed 10001 ms ago, more than 10000");
  EXPECT_EQ(answer(signed_header()), "node-a") << "the same header, signed for another connection";
}

TEST_F(HeaderCheckTest, a_header_is_for_the_connection_it_came_on) {
  const auto bytes = signed_header();
  for (const auto* elsewhere : {"192.168.0.8:41000", "192.168.0.7:41001", "[::1]:41000"}) {
    EXPECT_EQ(answer(bytes, *Endpoint::parse(elsewhere)),
              "the header is for a connection from 192.168.0.7:41000, not " + std::string(elsewhere));
  }
  EXPECT_EQ(answer(bytes), "node-a") << "a copy that was tried elsewhere uses nothing up";
  header.hop_source.reset();
  EXPECT_EQ(answer(signed_header()), "the header does not say from which address it comes");
}

// What one replica saw, another did not: what stops the copy there is that it comes from another socket.
TEST_F(HeaderCheckTest, a_header_is_not_good_at_another_replica) {
  const auto bytes = signed_header();
  EXPECT_EQ(answer(bytes), "node-a");
  gateway = std::make_unique<HeaderCheck>(settings, *keyring);
  EXPECT_THAT(answer(bytes, *Endpoint::parse("192.168.0.66:50000")), testing::HasSubstr("is for a connection from"));
  // The contract's gap: with translated addresses a replica has nothing to tell the copy by.
  listen.translated = true;
  EXPECT_EQ(answer(bytes, *Endpoint::parse("192.168.0.66:50000")), "node-a");
}

TEST_F(HeaderCheckTest, keys_change_without_loss) {
  for (const unsigned number : {1U, 2U}) {
    key = test::key(number);
    EXPECT_EQ(answer(signed_header()), "node-a") << number;
  }
  files.write("node-a.yaml", test::node_yaml({2}, "10.1.0.0/24"));
  keyring->reload();
  EXPECT_EQ(answer(signed_header()), "node-a");
  key = test::key(1);
  EXPECT_EQ(answer(signed_header()), "signed with a key that node node-a does not have");
  files.remove("node-a.yaml");
  keyring->reload();
  key = test::key(2);
  EXPECT_EQ(answer(signed_header()), "no keys are known of node \"node-a\"");
}

TEST_F(HeaderCheckTest, who_has_no_key_cannot_fill_the_memory_of_used_headers) {
  gateway = std::make_unique<HeaderCheck>(settings, *keyring, 16);
  const auto bytes = signed_header();
  for (int i = 1; i < 1000; ++i) {
    auto forged = bytes;
    forged[forged.size() - wire::header_mac_bytes] ^= static_cast<std::uint8_t>(i);
    forged[forged.size() - wire::header_mac_bytes + 1] ^= static_cast<std::uint8_t>(i >> 8);
    ASSERT_EQ(answer(forged), "the signature is not node node-a's");
  }
  EXPECT_EQ(answer(bytes), "node-a");
}

TEST_F(HeaderCheckTest, what_cannot_be_remembered_is_refused) {
  gateway = std::make_unique<HeaderCheck>(settings, *keyring, 16);
  std::size_t believed = 0;
  for (int i = 0; i < 255; ++i) {
    const auto told = answer(signed_header());
    if (told == "node-a") {
      ++believed;
    } else {
      EXPECT_EQ(told, "too many headers to remember: lower gateway.header_age_ms");
    }
  }
  EXPECT_EQ(believed, 16U);
}

}  // namespace
}  // namespace sluice::gateway

#include "wire/ja4.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/samples.h"
#include "wire/client_hello.h"

namespace sluice::wire {
namespace {

using test::Bytes;
using test::Hello;

std::string ja4_of(const Bytes& bytes) {
  const auto result = parse_client_hello(bytes);
  const auto* hello = std::get_if<ClientHello>(&result);
  return hello ? hello->ja4 : "no hello";
}
std::string ja4_of(const Hello& hello) {
  return ja4_of(hello.wire());
}

// A hello with these lists in this order; what JA4 does not look into is empty.
Hello hello_of(std::vector<std::uint16_t> ciphers, const std::vector<std::uint16_t>& extensions,
               const std::vector<std::uint16_t>& signatures, bool tls13) {
  Hello hello;
  hello.ciphers = std::move(ciphers);
  for (const auto type : extensions) {
    if (type == 0x0000) {
      hello.extensions.push_back(test::server_names({"a.example"}));
    } else if (type == 0x000d) {
      hello.extensions.push_back(test::signature_schemes(signatures));
    } else if (type == 0x0010) {
      hello.extensions.push_back(test::alpn_names({"h2", "http/1.1"}));
    } else if (type == 0x002b && tls13) {
      hello.extensions.push_back(test::offered_versions({0x1a1a, 0x0303, 0x0304}));
    } else {
      hello.extensions.push_back({type, {}});
    }
  }
  return hello;
}

const std::vector<std::uint16_t> chrome_ciphers = {0x0a0a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030,
                                                   0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035};
const std::vector<std::uint16_t> chrome_signatures = {0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601};

// The example of FoxIO's specification, and captures from its test data with their raw forms as input.
TEST(Ja4, is_the_published_one_for_published_hellos) {
  EXPECT_EQ(ja4_of(hello_of(chrome_ciphers,
                            {0xfafa, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
                             0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015},
                            chrome_signatures, true)),
            "t13d1516h2_8daaf6152771_e5627efa2ab1");
  EXPECT_EQ(ja4_of(hello_of(chrome_ciphers,
                            {0x000d, 0x0010, 0x0000, 0x000b, 0x0023, 0x4469, 0xff01, 0x0033, 0x000a, 0x002d, 0x002b,
                             0x0005, 0x0017, 0x0012, 0x001b, 0x0029},
                            chrome_signatures, true)),
            "t13d1516h2_8daaf6152771_9b887d9acb53");
  // Windows, TLS 1.2, no ALPN.
  EXPECT_EQ(
      ja4_of(hello_of({0xc02c, 0xc02b, 0xc030, 0xc02f, 0xc024, 0xc023, 0xc028, 0xc027, 0xc00a, 0xc009, 0xc014, 0xc013,
                       0x009d, 0x009c, 0x003d, 0x003c, 0x0035, 0x002f, 0x000a},
                      {0x0000, 0x0005, 0x000a, 0x000b, 0x000d, 0x0023, 0x0017, 0xff01},
                      {0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0201, 0x0403, 0x0503, 0x0203, 0x0202, 0x0601, 0x0603},
                      false)),
      "t12d190800_d83cc789557e_7af1ed941c26");
  // GREASE among the signature algorithms.
  EXPECT_EQ(
      ja4_of(hello_of(chrome_ciphers,
                      {0xfe0d, 0x0010, 0x0017, 0x0033, 0x44cd, 0xff01, 0x000a, 0x000d, 0x0023, 0x002b, 0x000b, 0xca34,
                       0x002d, 0x0000, 0x0005, 0x001b, 0x0012},
                      {0x0a0a, 0x0904, 0x0905, 0x0906, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
                      true)),
      "t13d1517h2_8daaf6152771_cb7bf5808d99");
  // Chrome 143 with ECH.
  EXPECT_EQ(ja4_of(test::chrome_like_hello("a.example")), "t13d1516h2_8daaf6152771_d8a2da3f94cd");
}

TEST(Ja4, of_captured_hellos_is_what_a_second_implementation_says) {
  EXPECT_EQ(ja4_of(test::sample("client_hello/openssl_tls13")), "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4");
  EXPECT_EQ(ja4_of(test::sample("client_hello/openssl_tls12_no_sni")), "t12i280600_d943125447b4_e7e480e5a997");
  EXPECT_EQ(ja4_of(test::sample("client_hello/curl_h2")), "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6");
  EXPECT_EQ(ja4_of(test::sample("client_hello/wget_gnutls")), "t13d291300_723694b0fccc_899037bd0b8c");
  EXPECT_EQ(ja4_of(test::sample("client_hello/python")), "t13d181100_85036bcba153_d41ae481755e");
  EXPECT_EQ(ja4_of(test::sample("client_hello/node")), "t13d5911h2_a33745022dd6_1f22a2ca17c4");
  EXPECT_EQ(ja4_of(test::sample("client_hello/java")), "t13d3713h2_db35923f8641_7c76daad20ec");
}

TEST(Ja4, without_signature_algorithms_the_list_ends_without_an_underscore) {
  // The specification's example has 000d in the list and yet no algorithms: here there is GREASE alone.
  EXPECT_EQ(ja4_of(hello_of(chrome_ciphers,
                            {0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
                             0x002b, 0xff01, 0x000b, 0x000a, 0x0015},
                            {0x2a2a}, true)),
            "t13d1516h2_8daaf6152771_6d807ffa2a79");
}

TEST(Ja4, empty_lists_are_twelve_zeros) {
  auto hello = hello_of({0x0a0a}, {0x0000, 0x0010, 0x3a3a}, {}, true);
  EXPECT_EQ(ja4_of(hello), "t12d0002h2_000000000000_000000000000");
  hello.extensions.clear();
  EXPECT_EQ(ja4_of(hello), "t12i000000_000000000000_000000000000");
}

TEST(Ja4, counts_stop_at_99) {
  std::vector<std::uint16_t> many;
  for (std::uint16_t value = 0x4000; value < 0x4000 + 100; ++value) many.push_back(value);
  EXPECT_EQ(ja4_of(hello_of(many, many, {}, true)).substr(0, 10), "t12i999900");
  many.pop_back();
  EXPECT_EQ(ja4_of(hello_of(many, many, {}, true)).substr(0, 10), "t12i999900");
  many.pop_back();
  EXPECT_EQ(ja4_of(hello_of(many, many, {}, true)).substr(0, 10), "t12i989800");
}

TEST(Ja4, takes_first_and_last_of_the_first_alpn_or_of_its_hex_form) {
  const auto code = [](std::string_view alpn) {
    Hello hello;
    hello.extensions = {test::alpn_names({alpn, "zz"})};
    return ja4_of(hello).substr(8, 2);
  };
  EXPECT_EQ(code("h2"), "h2");
  EXPECT_EQ(code("http/1.1"), "h1");
  EXPECT_EQ(code("X"), "XX");
  EXPECT_EQ(code("\xab"), "ab");
  EXPECT_EQ(code("\xab\xcd"), "ad");
  EXPECT_EQ(code("\x30\xab"), "3b");
  EXPECT_EQ(code("\x30\x31\xab\xcd"), "3d");
  EXPECT_EQ(code("\x30\xab\xcd\x31"), "01");
  EXPECT_EQ(code("h-"), "6d");
}

TEST(Ja4, the_version_is_the_highest_offered_without_grease) {
  const auto code = [](const std::vector<std::uint16_t>& versions) {
    Hello hello;
    hello.extensions = {test::offered_versions(versions)};
    return ja4_of(hello).substr(1, 2);
  };
  EXPECT_EQ(code({0x0303, 0x0304, 0x0302}), "13");
  EXPECT_EQ(code({0xfafa, 0x0303}), "12");
  EXPECT_EQ(code({0x0302, 0x0301}), "11");
  EXPECT_EQ(code({0x0301, 0x0300}), "10");
  EXPECT_EQ(code({0x0300, 0x0002}), "s3");
  EXPECT_EQ(code({0x0002}), "s2");
  EXPECT_EQ(code({0xfefd}), "d2");
  EXPECT_EQ(code({0x7f1c}), "00");
  EXPECT_EQ(code({0xfafa}), "00");
}

TEST(Ja4, only_doubled_bytes_that_end_in_a_are_grease) {
  int count = 0;
  for (unsigned value = 0; value <= 0xffff; ++value) count += is_grease(static_cast<std::uint16_t>(value)) ? 1 : 0;
  EXPECT_EQ(count, 16);
  EXPECT_TRUE(is_grease(0x0a0a));
  EXPECT_TRUE(is_grease(0xfafa));
  EXPECT_FALSE(is_grease(0x0a1a));
}

}  // namespace
}  // namespace sluice::wire

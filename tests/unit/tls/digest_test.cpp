#include "tls/digest.h"

#include <gtest/gtest.h>

#include <string_view>

#include "base/sha256.h"

namespace sluice::tls {
namespace {

ByteSpan bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// FIPS 180-4 and RFC 4231 samples.
TEST(Digest, sha256_gives_the_published_samples) {
  EXPECT_EQ(to_hex(sha256(bytes(""))), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256(bytes("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, pieces_give_the_digest_of_the_whole_and_the_object_starts_anew) {
  Sha256 hash;
  for (int round = 0; round < 2; ++round) {
    hash.update(bytes("a"));
    hash.update(bytes(""));
    hash.update(bytes("bc"));
    EXPECT_EQ(hash.finish(), sha256(bytes("abc")));
  }
}

TEST(Digest, hmac_gives_the_published_samples) {
  EXPECT_EQ(to_hex(hmac_sha256(bytes("Jefe"), bytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  const std::string long_key(131, '\xaa');
  EXPECT_EQ(to_hex(hmac_sha256(bytes(long_key), bytes("Test Using Larger Than Block-Size Key - Hash Key First"))),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(Digest, an_empty_key_is_a_key_and_not_the_one_before) {
  const auto empty = hmac_sha256({}, bytes("message"));
  EXPECT_NE(hmac_sha256(bytes("key"), bytes("message")), empty);
  EXPECT_EQ(hmac_sha256({}, bytes("message")), empty);
}

TEST(Digest, equality_needs_the_same_length_and_bytes) {
  EXPECT_TRUE(equal_in_constant_time(bytes("abc"), bytes("abc")));
  EXPECT_FALSE(equal_in_constant_time(bytes("abc"), bytes("abd")));
  EXPECT_FALSE(equal_in_constant_time(bytes("abc"), bytes("abcd")));
}

}  // namespace
}  // namespace sluice::tls

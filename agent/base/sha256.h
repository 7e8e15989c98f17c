// SHA-256 (FIPS 180-4), for pure modules that name things by digest. Keys and signatures are OpenSSL's business (tls).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;

  void update(std::span<const std::uint8_t> bytes);
  void update(std::string_view text);
  // The digest of all bytes so far. The object is used up.
  Digest finish();

 private:
  static constexpr std::size_t block_bytes = 64;
  void absorb(const std::uint8_t* block);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, block_bytes> pending_{};
  std::uint64_t total_bytes_ = 0;
};

// Lower-case hexadecimal digits, two a byte.
std::string to_hex(std::span<const std::uint8_t> bytes);

}  // namespace sluice

#include "kernel/tables.h"

#include <gtest/gtest.h>

#include <cstring>

namespace sluice::kernel {
namespace {

TEST(KernelAddress, is_sixteen_bytes_with_ipv4_mapped) {
  const auto v4 = to_kernel(*IpAddress::parse("192.0.2.1"));
  const std::uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
  EXPECT_EQ(std::memcmp(v4.bytes, mapped, sizeof mapped), 0);
  const auto v6 = to_kernel(*IpAddress::parse("2001:db8::7"));
  const std::uint8_t native[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
  EXPECT_EQ(std::memcmp(v6.bytes, native, sizeof native), 0);
}

TEST(KernelAddress, comes_back_as_it_went) {
  for (const char* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "2001:db8::7", "fe80::1"}) {
    const auto address = *IpAddress::parse(text);
    EXPECT_EQ(from_kernel(to_kernel(address)), address) << text;
  }
}

}  // namespace
}  // namespace sluice::kernel

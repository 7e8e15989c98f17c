// IP addresses, prefixes and endpoints. One representation for both families: 16 bytes in network order, IPv4 as
// ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so an IPv4-mapped IPv6 address *is* the IPv4 address.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

class IpAddress {
 public:
  using Bytes = std::array<std::uint8_t, 16>;

  constexpr IpAddress() = default;  // "::"
  explicit constexpr IpAddress(const Bytes& bytes) : bytes_(bytes) {}
  // From 4 or 16 bytes in network order; nullopt for any other length.
  static std::optional<IpAddress> from_bytes(std::span<const std::uint8_t> bytes);
  // Strict text forms of inet_pton(3); no zone, no port, no surrounding space.
  static std::optional<IpAddress> parse(std::string_view text);

  bool is_v4() const;
  bool is_unspecified() const;  // 0.0.0.0 or ::
  const Bytes& bytes() const { return bytes_; }
  // The address without the mapping: 4 bytes for IPv4, else 16.
  std::span<const std::uint8_t> native() const;
  std::string to_string() const;

  auto operator<=>(const IpAddress&) const = default;

 private:
  Bytes bytes_{};
};

// An address range in CIDR form. Bits below the prefix are zero.
class Cidr {
 public:
  Cidr() = default;
  // `length` in bits of the native family (0..32 or 0..128); nullopt when out of range or host bits are set.
  static std::optional<Cidr> make(const IpAddress& address, unsigned length);
  // "10.0.0.0/8", "fd00::/8", or a plain address (a full-length prefix).
  static std::optional<Cidr> parse(std::string_view text);

  bool contains(const IpAddress& address) const;
  const IpAddress& address() const { return address_; }
  unsigned length() const { return mapped_length_ - (address_.is_v4() ? 96 : 0); }
  // Bits over the 16-byte representation: 96 + length for IPv4.
  unsigned mapped_length() const { return mapped_length_; }
  std::string to_string() const;

  auto operator<=>(const Cidr&) const = default;

 private:
  IpAddress address_;
  unsigned mapped_length_ = 128;
};

// Is the address in any of them?
bool contains(std::span<const Cidr> ranges, const IpAddress& address);

// An address and a port (host byte order).
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  // "10.0.0.1:443", "[fd00::1]:443".
  std::string to_string() const;
  // The inverse of to_string().
  static std::optional<Endpoint> parse(std::string_view text);
  auto operator<=>(const Endpoint&) const = default;
};

}  // namespace sluice

template <>
struct std::hash<sluice::IpAddress> {
  std::size_t operator()(const sluice::IpAddress& address) const noexcept;
};

// TCP services with addresses: by port and destination, the longest prefix first.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ip.h"
#include "policy/export_scope.h"

namespace sluice {

struct AddressEntry {
  IpAddress network;
  Scope scope = 0;
  std::uint32_t service = 0;
  std::uint16_t port = 0;
  std::uint8_t mapped_length = 0;  // of the prefix, over the 16-byte representation
};

class AddressIndex {
 public:
  void add(const Cidr& cidr, std::uint16_t port, Scope scope, std::uint32_t service);
  // To be called once, after the last add() and before the first find().
  void seal();

  // The entry in sight with the longest prefix around `destination`, the oldest of those; null when there is none. An
  // IPv6 prefix never covers an IPv4 destination, not even "::/0".
  const AddressEntry* find(const IpAddress& destination, std::uint16_t port, const Sight& sight) const;
  // All entries of `port`, whatever their address.
  std::span<const AddressEntry> on_port(std::uint16_t port) const;
  // Heap bytes.
  std::size_t bytes() const { return entries_.capacity() * sizeof(AddressEntry); }

 private:
  std::vector<AddressEntry> entries_;  // by port, falling prefix length, network, scope, service
};

}  // namespace sluice

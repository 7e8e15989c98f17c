#include "policy/address_index.h"

#include <algorithm>
#include <tuple>

namespace sluice {
namespace {

constexpr unsigned v4_mapped_length = 96;

IpAddress network_of(const IpAddress& address, unsigned mapped_length) {
  auto bytes = address.bytes();
  for (unsigned index = 0; index < bytes.size(); ++index) {
    const unsigned kept = std::clamp<unsigned>(mapped_length, index * 8, index * 8 + 8) - index * 8;
    bytes[index] = static_cast<std::uint8_t>(bytes[index] & (0xff00U >> kept));
  }
  return IpAddress(bytes);
}

auto order(const AddressEntry& entry) {
  return std::make_tuple(entry.port, 128 - entry.mapped_length, entry.network, entry.scope, entry.service);
}

}  // namespace

void AddressIndex::add(const Cidr& cidr, std::uint16_t port, Scope scope, std::uint32_t service) {
  entries_.push_back({cidr.address(), scope, service, port, static_cast<std::uint8_t>(cidr.mapped_length())});
}

void AddressIndex::seal() {
  std::sort(entries_.begin(), entries_.end(),
            [](const AddressEntry& left, const AddressEntry& right) { return order(left) < order(right); });
  entries_.shrink_to_fit();
}

const AddressEntry* AddressIndex::find(const IpAddress& destination, std::uint16_t port, const Sight& sight) const {
  const auto on_this_port = on_port(port);
  for (auto first = on_this_port.begin(); first != on_this_port.end();) {
    const unsigned length = first->mapped_length;
    const auto last = std::upper_bound(first, on_this_port.end(), length, [](unsigned left, const AddressEntry& right) {
      return left > right.mapped_length;
    });
    if (length >= v4_mapped_length || !destination.is_v4()) {
      const auto network = network_of(destination, length);
      const auto from = std::lower_bound(
          first, last, network, [](const AddressEntry& left, const IpAddress& right) { return left.network < right; });
      const auto to = std::upper_bound(
          from, last, network, [](const IpAddress& left, const AddressEntry& right) { return left < right.network; });
      if (const auto* entry = sight.oldest(std::span<const AddressEntry>(from, to)); entry != nullptr) return entry;
    }
    first = last;
  }
  return nullptr;
}

std::span<const AddressEntry> AddressIndex::on_port(std::uint16_t port) const {
  const auto first = std::lower_bound(entries_.begin(), entries_.end(), port,
                                      [](const AddressEntry& left, unsigned right) { return left.port < right; });
  const auto last = std::upper_bound(first, entries_.end(), port,
                                     [](unsigned left, const AddressEntry& right) { return left < right.port; });
  return {first, last};
}

}  // namespace sluice

#include "policy/port_index.h"

#include <algorithm>
#include <tuple>

namespace sluice {
namespace {

std::uint32_t key_of(std::uint16_t port, PortKind kind) {
  return std::uint32_t{port} << 2 | static_cast<std::uint32_t>(kind);
}

}  // namespace

PortKind kind_of(const Service& service, const ServicePort& port) {
  if (is_tls(port.protocol)) return PortKind::tls;
  if (is_http(port.protocol)) return PortKind::http;
  return service.addresses.empty() ? PortKind::tcp_anywhere : PortKind::tcp_by_address;
}

PortIndex::PortIndex(const std::vector<Service>& services, const ExportScopes& scopes) {
  service_ends_.reserve(services.size());
  for (std::uint32_t service = 0; service < services.size(); ++service) {
    const auto begin = static_cast<std::ptrdiff_t>(positions_.size());
    const auto& ports = services[service].ports;
    for (std::uint32_t index = 0; index < ports.size(); ++index) {
      const auto key = key_of(ports[index].number, kind_of(services[service], ports[index]));
      positions_.push_back({key, index});
      entries_.push_back({key, scopes.of(service), service});
    }
    std::sort(positions_.begin() + begin, positions_.end(), [](const Position& left, const Position& right) {
      return std::tie(left.key, left.index) < std::tie(right.key, right.index);
    });
    service_ends_.push_back(static_cast<std::uint32_t>(positions_.size()));
  }
  std::sort(entries_.begin(), entries_.end(), [](const Entry& left, const Entry& right) {
    return std::tie(left.key, left.scope, left.service) < std::tie(right.key, right.scope, right.service);
  });
  const auto alike = [](const Entry& left, const Entry& right) {
    return left.key == right.key && left.scope == right.scope;
  };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), alike), entries_.end());
  entries_.shrink_to_fit();
  positions_.shrink_to_fit();
}

const PortIndex::Entry* PortIndex::find(std::uint16_t port, PortKind kind, const Sight& sight) const {
  const auto key = key_of(port, kind);
  const auto first = std::lower_bound(entries_.begin(), entries_.end(), key,
                                      [](const Entry& left, std::uint32_t right) { return left.key < right; });
  const auto last = std::upper_bound(first, entries_.end(), key,
                                     [](std::uint32_t left, const Entry& right) { return left < right.key; });
  return sight.oldest(std::span<const Entry>(first, last));
}

std::uint32_t PortIndex::find_in(std::uint32_t service, std::uint16_t port, PortKinds kinds) const {
  const auto begin = positions_.begin() + (service == 0 ? 0 : service_ends_[service - 1]);
  const auto end = positions_.begin() + service_ends_[service];
  const auto first = std::lower_bound(begin, end, std::uint32_t{port} << 2,
                                      [](const Position& left, std::uint32_t right) { return left.key < right; });
  for (auto position = first; position != end && position->key >> 2 == port; ++position) {
    if ((kinds >> (position->key & 3) & 1) != 0) return position->index;
  }
  return absent;
}

std::size_t PortIndex::bytes() const {
  return entries_.capacity() * sizeof(Entry) + positions_.capacity() * sizeof(Position) +
         service_ends_.capacity() * sizeof(std::uint32_t);
}

}  // namespace sluice

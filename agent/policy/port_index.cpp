#include "policy/port_index.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

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
  std::map<std::vector<std::uint32_t>, PortList> lists;
  list_of_service_.reserve(services.size());
  for (std::uint32_t service = 0; service < services.size(); ++service) {
    std::vector<std::uint32_t> keys;
    for (const ServicePort& port : services[service].ports) {
      keys.push_back(key_of(port.number, kind_of(services[service], port)));
      entries_.push_back({keys.back(), scopes.of(service), service});
    }
    const auto [list, is_new] = lists.try_emplace(std::move(keys), static_cast<PortList>(lists.size()));
    if (is_new) add_list(list->first);
    list_of_service_.push_back(list->second);
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
  list_ends_.shrink_to_fit();
}

void PortIndex::add_list(const std::vector<std::uint32_t>& keys) {
  const auto begin = static_cast<std::ptrdiff_t>(positions_.size());
  for (std::uint32_t index = 0; index < keys.size(); ++index) positions_.push_back({keys[index], index});
  std::sort(positions_.begin() + begin, positions_.end(), [](const Position& left, const Position& right) {
    return std::tie(left.key, left.index) < std::tie(right.key, right.index);
  });
  list_ends_.push_back(static_cast<std::uint32_t>(positions_.size()));
}

const PortIndex::Entry* PortIndex::find(std::uint16_t port, PortKind kind, const Sight& sight) const {
  const auto key = key_of(port, kind);
  const auto first = std::lower_bound(entries_.begin(), entries_.end(), key,
                                      [](const Entry& left, std::uint32_t right) { return left.key < right; });
  const auto last = std::upper_bound(first, entries_.end(), key,
                                     [](std::uint32_t left, const Entry& right) { return left < right.key; });
  return sight.oldest(std::span<const Entry>(first, last));
}

std::uint32_t PortIndex::find_in(PortList list, std::uint16_t port, PortKinds kinds) const {
  const auto begin = positions_.begin() + (list == 0 ? 0 : list_ends_[list - 1]);
  const auto end = positions_.begin() + list_ends_[list];
  const auto first = std::lower_bound(begin, end, std::uint32_t{port} << 2,
                                      [](const Position& left, std::uint32_t right) { return left.key < right; });
  for (auto position = first; position != end && position->key >> 2 == port; ++position) {
    if ((kinds >> (position->key & 3) & 1) != 0) return position->index;
  }
  return absent;
}

std::size_t PortIndex::bytes() const {
  return entries_.capacity() * sizeof(Entry) + positions_.capacity() * sizeof(Position) +
         list_of_service_.capacity() * sizeof(PortList) + list_ends_.capacity() * sizeof(std::uint32_t);
}

}  // namespace sluice

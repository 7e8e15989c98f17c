#include "identity/pod.h"

namespace sluice::identity {
namespace {

template <typename Key>
void add(std::unordered_map<Key, const Pod*>& map, const Key& key, const Pod& pod) {
  const auto [entry, is_new] = map.emplace(key, &pod);
  if (!is_new && entry->second != &pod) entry->second = nullptr;
}

template <typename Key>
const Pod* find(const std::unordered_map<Key, const Pod*>& map, const Key& key) {
  const auto entry = map.find(key);
  return entry == map.end() ? nullptr : entry->second;
}

}  // namespace

PodTable::PodTable(std::vector<Pod> pods) : pods_(std::move(pods)) {
  for (const auto& pod : pods_) {
    for (const auto& address : pod.addresses) add(by_address_, address, pod);
    if (pod.ifindex != 0) add(by_interface_, pod.ifindex, pod);
  }
}

const Pod* PodTable::by_address(const IpAddress& address) const {
  return find(by_address_, address);
}

const Pod* PodTable::by_interface(unsigned ifindex) const {
  return find(by_interface_, ifindex);
}

}  // namespace sluice::identity

// Typed access to a BPF map.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sluice::kernel {

// A map that somebody else owns. Key and Value are of abi.h; their sizes were checked when the map was opened.
template <typename Key, typename Value>
class Table {
 public:
  Table() = default;
  explicit Table(const bpf_map* map)
      : fd_(::bpf_map__fd(map)), name_(::bpf_map__name(map)), capacity_(::bpf_map__max_entries(map)) {}

  // `fd` stays the caller's.
  Table(int fd, std::string name, std::size_t capacity) : fd_(fd), name_(std::move(name)), capacity_(capacity) {}

  std::optional<Value> find(const Key& key) const {
    Value value{};
    if (::bpf_map_lookup_elem(fd_, &key, &value) != 0) return std::nullopt;
    return value;
  }

  Status put(const Key& key, const Value& value, std::uint64_t flags = BPF_ANY) const {
    if (::bpf_map_update_elem(fd_, &key, &value, flags) == 0) return Done{};
    const int code = errno;
    if (code == ENOSPC || code == E2BIG) return Error("map " + name_ + " is full");
    return Error::from_errno("write map " + name_, code);
  }

  // One value for each key; after an error some are written.
  Status put_all(const std::vector<Key>& keys, const std::vector<Value>& values) const {
    auto count = static_cast<std::uint32_t>(keys.size());
    if (count == 0 || ::bpf_map_update_batch(fd_, keys.data(), values.data(), &count, nullptr) == 0) return Done{};
    const int code = errno;
    if (code == ENOSPC || code == E2BIG) return Error("map " + name_ + " is full");
    return Error::from_errno("write map " + name_, code);
  }

  // Fine when there is none, which this kind of map says by errno value `absent`.
  Status remove(const Key& key, int absent = ENOENT) const {
    if (::bpf_map_delete_elem(fd_, &key) == 0 || errno == absent) return Done{};
    return Error::from_errno("delete from map " + name_, errno);
  }

  // The value it had; nullopt when there was none.
  std::optional<Value> take(const Key& key) const {
    Value value{};
    if (::bpf_map_lookup_and_delete_elem(fd_, &key, &value) != 0) return std::nullopt;
    return value;
  }

  // Every key, while nobody else removes any; then the kernel begins anew and some are seen twice.
  std::vector<Key> keys() const {
    std::vector<Key> found;
    Key next{};
    const Key* previous = nullptr;
    while (found.size() < capacity_ && ::bpf_map_get_next_key(fd_, previous, &next) == 0) {
      found.push_back(next);
      previous = &found.back();
    }
    return found;
  }

  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  std::string name_;
  std::size_t capacity_ = 0;
};

}  // namespace sluice::kernel

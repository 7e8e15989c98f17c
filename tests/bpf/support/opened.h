// An Interception in a lab of its own, and a look at what it put into the kernel.
#pragma once

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/abi.h"
#include "kernel/interception.h"
#include "support/lab.h"

namespace sluice::test {

inline constexpr auto tcx_ingress = static_cast<bpf_attach_type>(46);
inline constexpr auto tcx_egress = static_cast<bpf_attach_type>(47);

#define ASSERT_DONE(expression)                                             \
  do {                                                                      \
    const auto& done_ = (expression);                                       \
    ASSERT_TRUE(done_.ok()) << (done_.ok() ? "" : done_.error().message()); \
  } while (false)

// Ids of the programs on a hook of an interface, first to last.
inline std::vector<std::uint32_t> programs_on(unsigned ifindex, bpf_attach_type hook) {
  std::vector<std::uint32_t> ids(16);
  auto count = static_cast<std::uint32_t>(ids.size());
  must(::bpf_prog_query(static_cast<int>(ifindex), hook, 0, nullptr, ids.data(), &count) == 0, "query programs");
  ids.resize(count);
  return ids;
}

inline bpf_link_info link_info(int link) {
  bpf_link_info info{};
  std::uint32_t size = sizeof info;
  must(::bpf_obj_get_info_by_fd(link, &info, &size) == 0, "link information");
  return info;
}

// A map as the programs see it, by its pin.
template <typename Key, typename Value>
class PinnedMap {
 public:
  explicit PinnedMap(const std::string& pin) : fd_(::bpf_obj_get(pin.c_str())) { must(static_cast<bool>(fd_), pin); }

  std::optional<Value> find(const Key& key) const {
    Value value{};
    if (::bpf_map_lookup_elem(fd_.get(), &key, &value) != 0) return std::nullopt;
    return value;
  }
  void put(const Key& key, const Value& value) const {
    must(::bpf_map_update_elem(fd_.get(), &key, &value, BPF_ANY) == 0, "write to a map");
  }
  std::vector<Key> keys() const {
    std::vector<Key> all;
    Key next{};
    for (int more = ::bpf_map_get_next_key(fd_.get(), nullptr, &next); more == 0;
         more = ::bpf_map_get_next_key(fd_.get(), &all.back(), &next)) {
      all.push_back(next);
    }
    return all;
  }
  std::uint32_t id() const {
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    must(::bpf_obj_get_info_by_fd(fd_.get(), &info, &size) == 0, "map information");
    return info.id;
  }

 private:
  UniqueFd fd_;
};

// Pins in a directory of a private bpffs, programs in a private network namespace.
class Lab {
 public:
  Lab() : node_(enter_new_namespace()) {}

  const UniqueFd& node() const { return node_; }
  const std::string& bpffs() const { return bpffs_; }
  std::string link(unsigned ifindex, const std::string& program) const {
    return link(std::to_string(ifindex) + "-" + program);
  }
  std::string link(const std::string& name) const { return bpffs_ + "/links/" + name; }
  std::string map_pin(const std::string& name) const { return bpffs_ + "/maps/" + name; }

  template <typename Key, typename Value>
  PinnedMap<Key, Value> map(const std::string& name) const {
    return PinnedMap<Key, Value>(map_pin(name));
  }
  sluice_config config() const { return map<std::uint32_t, sluice_config>("configs").find(0).value(); }

  // Opens what the agent opens; throws the error it gets.
  std::unique_ptr<kernel::Interception> open(const std::string& cgroup = "") const {
    auto opened = try_open(cgroup);
    if (!opened) throw std::runtime_error(opened.error().message());
    return std::move(*opened);
  }
  Result<std::unique_ptr<kernel::Interception>> try_open(const std::string& cgroup = "") const {
    return kernel::Interception::open({.bpffs = bpffs_, .cgroup = cgroup});
  }

 private:
  PrivateMounts mounts_;
  UniqueFd node_;
  std::string bpffs_ = mounts_.directory() + "/sluice";
};

// Names the instances of a test whose parameter says whether it is for IPv6.
inline std::string family_name(const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "IPv6" : "IPv4";
}

// Ports whose calls are relayed.
inline kernel::PortEntry any_address(std::uint16_t port) {
  kernel::PortEntry entry;
  entry.rule = {.port = port, .any_address = true, .addresses = {}};
  return entry;
}
inline kernel::PortEntry by_address(std::uint16_t port, std::vector<Cidr> addresses) {
  kernel::PortEntry entry;
  entry.rule = {.port = port, .any_address = false, .addresses = std::move(addresses)};
  return entry;
}

inline std::vector<Cidr> cidrs(std::initializer_list<const char*> texts) {
  std::vector<Cidr> ranges;
  for (const char* range : texts) ranges.push_back(Cidr::parse(range).value());
  return ranges;
}

}  // namespace sluice::test

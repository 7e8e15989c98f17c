// What the resolver remembers: answers and refusals by name, each for its time, the least recently used going first.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::net {

using Addresses = std::vector<IpAddress>;

// A and AAAA addresses in one list, alternating, IPv6 first, without repetitions, at most `max`.
Addresses interleave(const Addresses& v6, const Addresses& v4, std::size_t max);

class ResolverCache {
 public:
  explicit ResolverCache(std::size_t max_entries) : max_entries_(max_entries) {}

  // Null when the name is unknown or its time is over; valid until the next call.
  const Result<Addresses>* find(const std::string& name, std::uint64_t now_ns);
  void put(const std::string& name, Result<Addresses> answer, std::uint64_t expires_ns);
  std::size_t size() const { return by_name_.size(); }

 private:
  struct Entry {
    std::string name;
    Result<Addresses> answer;
    std::uint64_t expires_ns;
  };
  using Entries = std::list<Entry>;  // most recently used first

  void erase(Entries::iterator entry);

  std::size_t max_entries_;
  Entries entries_;
  std::unordered_map<std::string, Entries::iterator> by_name_;
};

}  // namespace sluice::net

// Which pod is behind an address or interface. An immutable table, replaced as a whole by whoever learns of pods.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ip.h"

namespace sluice::identity {

struct Pod {
  std::string namespace_name;
  std::string name;
  std::string uid;
  std::string service_account;
  std::map<std::string, std::string> labels;
  std::vector<IpAddress> addresses;
  unsigned ifindex = 0;  // the node's end of its veth; 0: not found yet

  std::string full_name() const { return namespace_name + "/" + name; }
};

class PodTable {
 public:
  // Of two pods with one address neither is found by it: a doubtful identity is none.
  explicit PodTable(std::vector<Pod> pods);

  const Pod* by_address(const IpAddress& address) const;
  const Pod* by_interface(unsigned ifindex) const;
  const std::vector<Pod>& pods() const { return pods_; }

 private:
  std::vector<Pod> pods_;
  std::unordered_map<IpAddress, const Pod*> by_address_;
  std::unordered_map<unsigned, const Pod*> by_interface_;
};

}  // namespace sluice::identity

// Files with the keys of a node, by which its agent signs PROXY headers and gateways know it. Agent and gateway read
// the same form:
//
//   keys: ["64 hexadecimal digits", ...]   1 to 8, the newest first: the agent signs with the first one, gateways
//   accept
//                                          every one. So a key is changed without loss: the new one is put first at the
//                                          gateways, then at the agent, and later the old one is removed.
//   addresses: [10.244.3.0/24, ...]        the ranges of the node's pods. Gateways need at least one; agents ignore
//   them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::settings {

struct NodeKey {
  std::array<std::uint8_t, 4> id{};       // the first bytes of the secret's SHA-256: public
  std::array<std::uint8_t, 32> secret{};  // of HMAC-SHA256

  bool operator==(const NodeKey&) const = default;
};

struct NodeKeys {
  std::vector<NodeKey> keys;  // at least one, the newest first
  std::vector<Cidr> addresses;
};

// "FILE:LINE: key: what is wrong" like all settings, but nothing of the file's content is ever in an error: a key may
// stand at any wrong place. parse_node_keys takes the text; `path` is named in errors.
Result<NodeKeys> load_node_keys(const std::string& path);
Result<NodeKeys> parse_node_keys(std::string_view yaml, const std::string& path);

}  // namespace sluice::settings

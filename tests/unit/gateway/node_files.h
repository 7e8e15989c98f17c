// A directory of node keys for tests, and headers that are signed with them by hand.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "settings/node_keys.h"
#include "tls/digest.h"
#include "wire/proxy_v2.h"

namespace sluice::gateway::test {

// 64 digits, another key for each number.
inline std::string key_text(unsigned number) {
  auto text = std::string(64, 'a');
  const auto digits = std::to_string(number);
  return text.replace(0, digits.size(), digits);
}

inline std::string node_yaml(const std::vector<unsigned>& keys, const std::string& addresses) {
  std::string yaml = "keys:\n";
  for (const auto number : keys) yaml += "  - \"" + key_text(number) + "\"\n";
  return yaml + "addresses: [" + addresses + "]\n";
}

inline settings::NodeKey key(unsigned number) {
  return settings::parse_node_keys(node_yaml({number}, ""), "key")->keys.front();
}

class NodeFiles {
 public:
  NodeFiles() {
    auto path = std::filesystem::path(testing::TempDir()) / "nodes-XXXXXX";
    auto text = path.string();
    path_ = ::mkdtemp(text.data());
  }
  ~NodeFiles() { std::filesystem::remove_all(path_); }
  NodeFiles(const NodeFiles&) = delete;
  NodeFiles& operator=(const NodeFiles&) = delete;

  const std::string& path() const { return path_; }
  // As a careful writer does it: under another name, then renamed. So it is another file each time.
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/.new") << text;
    std::filesystem::rename(path_ + "/.new", path_ + "/" + name);
  }
  void remove(const std::string& name) const { std::filesystem::remove(path_ + "/" + name); }

 private:
  std::string path_;
};

inline std::vector<std::uint8_t> sign(const wire::ProxyHeader& header, wire::HeaderStamp stamp,
                                      const settings::NodeKey& key) {
  stamp.key_id = key.id;
  auto bytes = wire::encode_proxy_header(header, stamp);
  const auto before = bytes.size() - wire::header_mac_bytes;
  std::ranges::copy(tls::hmac_sha256(key.secret, ByteSpan(bytes).first(before)),
                    bytes.begin() + static_cast<std::ptrdiff_t>(before));
  return bytes;
}

}  // namespace sluice::gateway::test

// The nodes that the gateway knows: their keys and the addresses of their pods, from a directory that changes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_version.h"
#include "base/published.h"
#include "base/result.h"
#include "settings/node_keys.h"

namespace sluice::gateway {

// By the node's name. No key is in two of them: whoever signs with a key is one node.
using KnownNodes = std::map<std::string, settings::NodeKeys, std::less<>>;

class NodeKeyring {
 public:
  // `directory`: gateway.node_keys, one NODE.yaml (settings/node_keys.h, with addresses) for each node, as a mounted
  // Secret has them: files may be symbolic links, hidden names are not read. Empty: no node is known. An error when the
  // directory cannot be read; a bad file is wrong() and leaves its node unknown.
  static Result<std::unique_ptr<NodeKeyring>> open(std::string directory);

  // Thread-safe.
  std::shared_ptr<const KnownNodes> nodes() const { return nodes_.get(); }

  // The rest belongs to the control loop's thread.

  // Reads again what changed; to be called every second. A node whose file is gone is unknown at once; one whose file
  // went bad stays as it was, and so do all when the directory cannot be read.
  void reload();
  // What is not as the directory says, and why.
  std::vector<std::string> wrong() const;

 private:
  struct File {
    FileVersion version;  // that was read last, good or bad
    std::optional<settings::NodeKeys> good;
    std::string wrong;  // empty: `good` is what it says
  };

  explicit NodeKeyring(std::string directory) : directory_(std::move(directory)) {}

  // Sets directory_wrong_ when there is no answer.
  std::optional<std::vector<std::string>> list_nodes();
  bool refresh(const std::string& node, File& file);
  void publish();

  const std::string directory_;
  Published<KnownNodes> nodes_{std::make_shared<const KnownNodes>()};
  std::map<std::string, File, std::less<>> files_;  // by node
  std::string directory_wrong_;                     // empty: it was read
  std::vector<std::string> shared_keys_;            // who has a key that is another node's too
};

}  // namespace sluice::gateway

#include "gateway/node_keyring.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace sluice::gateway {
namespace {

constexpr std::size_t max_nodes = 10'000;
constexpr std::string_view suffix = ".yaml";

}  // namespace

Result<std::unique_ptr<NodeKeyring>> NodeKeyring::open(std::string directory) {
  std::unique_ptr<NodeKeyring> keyring(new NodeKeyring(std::move(directory)));
  keyring->reload();
  if (!keyring->directory_wrong_.empty()) return Error(keyring->directory_wrong_);
  return keyring;
}

void NodeKeyring::reload() {
  if (directory_.empty()) return;
  const auto listed = list_nodes();
  if (!listed) return;
  bool changed = std::erase_if(files_, [&](const auto& file) {
                   return !std::binary_search(listed->begin(), listed->end(), file.first);
                 }) > 0;
  for (const auto& node : *listed) {
    if (refresh(node, files_[node])) changed = true;
  }
  if (changed) publish();
}

std::vector<std::string> NodeKeyring::wrong() const {
  auto wrong = shared_keys_;
  if (!directory_wrong_.empty()) wrong.push_back(directory_wrong_);
  for (const auto& [node, file] : files_) {
    if (!file.wrong.empty()) wrong.push_back(file.wrong);
  }
  return wrong;
}

std::optional<std::vector<std::string>> NodeKeyring::list_nodes() {
  std::vector<std::string> nodes;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory_, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    auto name = entry->path().filename().string();
    if (name.starts_with('.') || !name.ends_with(suffix)) continue;
    if (nodes.size() == max_nodes) {
      directory_wrong_ = fmt::format("gateway.node_keys: {} has more than {} nodes", directory_, max_nodes);
      return std::nullopt;
    }
    nodes.push_back(name.substr(0, name.size() - suffix.size()));
  }
  directory_wrong_ = error ? fmt::format("gateway.node_keys: read {}: {}", directory_, error.message()) : "";
  if (error) return std::nullopt;
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

// Did what is known of the node change?
bool NodeKeyring::refresh(const std::string& node, File& file) {
  const auto path = directory_ + "/" + node + std::string(suffix);
  const auto version = FileVersion::of(path);
  if (version && version->exists() && *version == file.version) return false;
  file.version = version ? *version : FileVersion{};
  if (!version) {
    file.wrong = version.error().message();
    return false;
  }
  if (!version->exists()) {
    // A symbolic link that leads nowhere: Kubernetes takes what it led to away first.
    file.wrong = path + " leads to no file";
    return std::exchange(file.good, std::nullopt).has_value();
  }
  auto keys = settings::load_node_keys(path);
  if (!keys || keys->addresses.empty()) {
    file.wrong = keys ? path + ":1: addresses: is required: the ranges of the node's pods" : keys.error().message();
    return false;
  }
  file.good = *std::move(keys);
  file.wrong.clear();
  return true;
}

void NodeKeyring::publish() {
  std::map<decltype(settings::NodeKey::secret), std::vector<std::string_view>> owners;
  for (const auto& [node, file] : files_) {
    if (!file.good) continue;
    for (const auto& key : file.good->keys) owners[key.secret].push_back(node);
  }
  auto nodes = std::make_shared<KnownNodes>();
  for (const auto& [node, file] : files_) {
    if (!file.good) continue;
    auto& known = (*nodes)[node] = *file.good;
    std::erase_if(known.keys, [&](const auto& key) { return owners[key.secret].size() > 1; });
  }
  shared_keys_.clear();
  for (const auto& [secret, names] : owners) {
    if (names.size() == 1) continue;
    shared_keys_.push_back(fmt::format("{}: nodes {} and {} have a key in common, which is not accepted from either",
                                       directory_, names[0], names[1]));
  }
  nodes_.set(std::move(nodes));
}

}  // namespace sluice::gateway

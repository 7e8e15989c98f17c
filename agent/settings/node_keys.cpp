#include "settings/node_keys.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/sha256.h"
#include "settings/read_settings.h"

namespace sluice::settings {
namespace {

constexpr std::size_t max_file_bytes = 64UL * 1024;
constexpr std::size_t max_keys = 8;
constexpr std::size_t max_addresses = 1000;

std::optional<NodeKey> parse_key(const yaml::Node& node) {
  NodeKey key;
  const std::string_view digits = node.text;
  if (node.kind != yaml::Kind::scalar || digits.size() != 2 * key.secret.size()) return std::nullopt;
  for (std::size_t i = 0; i < key.secret.size(); ++i) {
    const char* const first = digits.data() + 2 * i;
    const auto [end, error] = std::from_chars(first, first + 2, key.secret[i], 16);
    if (error != std::errc{} || end != first + 2) return std::nullopt;
  }
  Sha256 hash;
  hash.update(key.secret);
  const auto digest = hash.finish();
  std::copy_n(digest.begin(), key.id.size(), key.id.begin());
  return key;
}

void read_keys(yaml::Reader& reader, std::vector<NodeKey>& keys) {
  for (const auto& item : reader.list("keys", max_keys)) {
    const auto key = parse_key(item.node());
    if (!key) {
      item.fault("expected a key of 64 hexadecimal digits in quotes: make one with openssl rand -hex 32");
    } else if (std::find(keys.begin(), keys.end(), *key) != keys.end()) {
      item.fault("is there already: keep one of them");
    } else {
      keys.push_back(*key);
    }
  }
  if (keys.empty()) reader.fault("keys", "is required: at least one key of 64 hexadecimal digits, the newest first");
}

void read_addresses(yaml::Reader& reader, std::vector<Cidr>& addresses) {
  for (const auto& item : reader.list("addresses", max_addresses)) {
    const bool is_text = item.node().kind == yaml::Kind::scalar;
    const auto range = is_text ? Cidr::parse(item.node().text) : std::nullopt;
    if (!range) {
      item.fault("expected a range like 10.244.3.0/24 or fd00:3::/64 without bits set behind the prefix");
    } else if (range->length() == 0) {
      item.fault("is every address: then this node could speak for the pods of all others");
    } else {
      addresses.push_back(*range);
    }
  }
}

NodeKeys read_node_keys(const yaml::Node& root, yaml::Context& context) {
  yaml::Reader reader(&root, "", context);
  NodeKeys keys;
  read_keys(reader, keys.keys);
  read_addresses(reader, keys.addresses);
  reader.finish();
  return keys;
}

// Is it the path of a key that is ours, "keys[3]"?
bool is_known_path(std::string_view path) {
  const auto name = path.substr(0, path.find('['));
  return (name == "keys" || name == "addresses") && path.find_first_not_of("[]0123456789", name.size()) == path.npos;
}

}  // namespace

Result<NodeKeys> parse_node_keys(std::string_view text, const std::string& path) {
  const auto document = parse_document(text, path);
  if (!document) return document.error();
  yaml::Context context;
  context.faults = document->faults;
  auto keys = read_node_keys(document->root, context);
  for (auto& fault : context.faults) {
    // What stands where a key of ours is expected may be a secret.
    if (!is_known_path(fault.path)) fault.path.clear();
  }
  if (const auto error = first_error(path, context.faults)) return *error;
  return keys;
}

Result<NodeKeys> load_node_keys(const std::string& path) {
  const auto text = read_file(path, max_file_bytes);
  if (!text) return text.error();
  return parse_node_keys(*text, path);
}

}  // namespace sluice::settings

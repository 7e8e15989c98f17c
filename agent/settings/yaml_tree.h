// Hand-written YAML (settings, Istio objects) as a plain tree. Every input counts as crafted: bounded size, depth and
// number of values, no aliases (so nothing expands), no control bytes, scalar keys only, no key twice.
#pragma once

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/node/node.h>  // only declared in parser.h
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace sluice::settings::yaml {

inline constexpr std::size_t max_bytes = 16UL * 1024 * 1024;
inline constexpr std::size_t max_depth = 32;
inline constexpr std::size_t max_nodes = 2'000'000;
inline constexpr std::size_t max_documents = 100'000;
inline constexpr std::size_t max_line_bytes =
    256UL * 1024;                               // yaml-cpp holds every token of a line that opens a bracket
inline constexpr std::size_t max_faults = 100;  // listed of one document

enum class Kind : std::uint8_t { null, scalar, sequence, mapping };

struct Node {
  Kind kind = Kind::null;
  bool quoted = false;      // a scalar that can only be text: in quotes, a block, or tagged !!str
  unsigned line = 0;        // of the value, from 1
  unsigned key_line = 0;    // of the key, when the node is a value of a mapping
  std::string key;          // its key there
  std::string text;         // of a scalar
  std::vector<Node> items;  // of a sequence, or the values of a mapping in their order
};

// One thing that is wrong, at one place.
struct Fault {
  unsigned line = 0;
  std::string path;  // "limits.connections"; empty for the document as a whole
  std::string message;
  bool unknown_key = false;  // a key that nobody reads; everything else is a wrong value
};

struct Document {
  Node root;
  std::vector<Fault> faults;  // keys that are there twice; the first value is the one in the tree
};

// Either every document of the text, or the fault that keeps the text as a whole from being read.
struct Stream {
  std::vector<Document> documents;
  std::optional<Fault> fault;
};

// `text` made fit for a message: printable ASCII in double quotes, shortened.
inline std::string quote(std::string_view text) {
  constexpr std::size_t longest = 80;
  std::string out = "\"";
  for (const char c : text.substr(0, longest)) out += c >= ' ' && c <= '~' ? c : '?';
  return out + (text.size() > longest ? "...\"" : "\"");
}

// Builds the tree from yaml-cpp's events: its own Node shares aliased values and keeps duplicate keys.
class TreeBuilder final : public YAML::EventHandler {
 public:
  // Leaves yaml-cpp; caught by parse().
  struct Refused {
    int line;  // from 0
    const char* message;
  };

  Document take() { return std::exchange(document_, Document{}); }

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override { place(mark, Node{}); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    throw Refused{mark.line, "aliases (*name) are not read: write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                const std::string& value) override {
    const bool is_text = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!is_text) refuse_tag(mark, tag, "");
    Node node;
    node.kind = Kind::scalar;
    node.quoted = is_text;
    node.text = value;
    place(mark, std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                       YAML::EmitterStyle::value /*style*/) override {
    refuse_tag(mark, tag, "tag:yaml.org,2002:seq");
    open(mark, Kind::sequence);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    refuse_tag(mark, tag, "tag:yaml.org,2002:map");
    open(mark, Kind::mapping);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override {
    drop_duplicates(open_.back().node);
    close();
  }

 private:
  struct Level {
    Node node;
    std::optional<std::pair<std::string, unsigned>> key;  // read, its value not yet
  };

  static unsigned line_of(const YAML::Mark& mark) { return static_cast<unsigned>(mark.line) + 1; }

  static void refuse_tag(const YAML::Mark& mark, const std::string& tag, std::string_view allowed) {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != allowed) {
      throw Refused{mark.line, "YAML tags (!name) are not read: remove the tag"};
    }
  }

  bool key_expected() const { return !open_.empty() && open_.back().node.kind == Kind::mapping && !open_.back().key; }

  void open(const YAML::Mark& mark, Kind kind) {
    if (key_expected()) throw Refused{mark.line, "a key must be plain text"};
    if (open_.size() == max_depth) throw Refused{mark.line, "nested more than 32 levels deep"};
    count(mark);
    Level level;
    level.node.kind = kind;
    level.node.line = line_of(mark);
    open_.push_back(std::move(level));
  }

  void close() {
    Node node = std::move(open_.back().node);
    open_.pop_back();
    attach(std::move(node));
  }

  void place(const YAML::Mark& mark, Node node) {
    count(mark);
    node.line = line_of(mark);
    if (!key_expected()) return attach(std::move(node));
    if (node.kind != Kind::scalar) throw Refused{mark.line, "a key must be plain text"};
    open_.back().key.emplace(std::move(node.text), node.line);
  }

  void attach(Node node) {
    if (open_.empty()) {
      document_.root = std::move(node);
      return;
    }
    auto& parent = open_.back();
    if (parent.key) {
      std::tie(node.key, node.key_line) = *std::exchange(parent.key, std::nullopt);
    }
    parent.node.items.push_back(std::move(node));
  }

  void count(const YAML::Mark& mark) {
    if (++nodes_ > max_nodes) throw Refused{mark.line, "more than 2,000,000 values: split the file"};
  }

  void drop_duplicates(Node& mapping) {
    std::vector<const Node*> sorted;
    sorted.reserve(mapping.items.size());
    for (const auto& item : mapping.items) sorted.push_back(&item);
    std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return std::tie(a->key, a) < std::tie(b->key, b); });
    std::vector<bool> repeated(mapping.items.size());
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i]->key != sorted[i - 1]->key) continue;
      repeated[static_cast<std::size_t>(sorted[i] - mapping.items.data())] = true;
      if (document_.faults.size() == max_faults) continue;
      document_.faults.push_back({sorted[i]->key_line, path_to(sorted[i]->key), "is there twice: keep one of them"});
    }
    std::size_t index = 0;
    std::erase_if(mapping.items, [&](const Node& /*item*/) { return repeated[index++]; });
  }

  std::string path_to(const std::string& key) const {
    std::string path;
    for (std::size_t i = 0; i + 1 < open_.size(); ++i) {
      const auto& level = open_[i];
      if (level.node.kind == Kind::sequence) path += "[" + std::to_string(level.node.items.size()) + "]";
      if (level.key) path += (path.empty() ? "" : ".") + level.key->first;
    }
    return path + (path.empty() ? "" : ".") + key;
  }

  Document document_;
  std::vector<Level> open_;
  std::size_t nodes_ = 0;
};

// What yaml-cpp would misread (it takes a byte 0x04 for the end of the text) or choke on.
inline std::optional<Fault> find_crafted_line(std::string_view text) {
  unsigned line = 1;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < ' ' && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7f) {
      return Fault{line, "", "control byte: the file must be plain UTF-8 text"};
    }
    if (i - start == max_line_bytes) return Fault{line, "", "line longer than 256 KiB: break it up"};
    if (byte == '\n') {
      ++line;
      start = i + 1;
    }
  }
  return std::nullopt;
}

inline Stream parse(std::string_view text) {
  const auto failure = [](unsigned line, std::string message) {
    return Stream{{}, Fault{line, "", std::move(message)}};
  };
  if (text.size() > max_bytes) return failure(1, "larger than 16 MiB: split the file");
  if (auto fault = find_crafted_line(text)) return Stream{{}, std::move(fault)};
  try {
    Stream stream;
    TreeBuilder builder;
    std::istringstream input{std::string(text)};
    YAML::Parser parser(input);
    while (parser.HandleNextDocument(builder)) {
      // Also what ends yaml-cpp's documents that it makes up without reading a byte.
      if (stream.documents.size() == max_documents) return failure(1, "more than 100,000 documents: split the file");
      stream.documents.push_back(builder.take());
    }
    return stream;
  } catch (const TreeBuilder::Refused& refused) {
    return failure(static_cast<unsigned>(refused.line) + 1, refused.message);
  } catch (const YAML::Exception& error) {
    return failure(static_cast<unsigned>(std::max(error.mark.line, 0)) + 1, "not valid YAML: " + error.msg);
  } catch (const std::exception& error) {
    return failure(1, std::string("cannot be read as YAML: ") + error.what());
  }
}

}  // namespace sluice::settings::yaml

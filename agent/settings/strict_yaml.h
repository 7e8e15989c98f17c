// Reads one mapping of a YAML tree key by key: each key at most once, each value of the right type and in range, and
// every key that nobody asked for reported. A value that is absent or wrong leaves its target as it was.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "settings/yaml_tree.h"

namespace sluice::settings::yaml {

// What all readers of one document share.
struct Context {
  // Kubernetes drops fields that are null; in settings a key without a value is a mistake.
  bool null_is_absent = false;
  std::vector<Fault> faults;     // in no particular order, at most max_faults
  std::set<std::string> absent;  // every key that was asked for and is not there
  // Where wanted, the path and line of every value that was asked for and is there.
  bool wants_places = false;
  std::vector<std::pair<std::string, unsigned>> places;

  bool has_wrong_values() const {
    return std::any_of(faults.begin(), faults.end(), [](const Fault& fault) { return !fault.unknown_key; });
  }
  void place(const std::string& path, unsigned line) {
    if (wants_places) places.emplace_back(path, line);
  }
  void fault(unsigned line, std::string path, std::string message, bool unknown_key = false) {
    if (faults.size() < max_faults) faults.push_back({line, std::move(path), std::move(message), unknown_key});
  }
};

inline std::string_view describe(Kind kind) {
  switch (kind) {
    case Kind::null:
      return "nothing";
    case Kind::scalar:
      return "a single value";
    case Kind::sequence:
      return "a list";
    case Kind::mapping:
      return "a mapping";
  }
  return "";
}

// Would YAML 1.1, the dialect of Kubernetes, take this unquoted scalar for a boolean or a number?
inline bool is_plain_non_text(std::string_view text) {
  static const std::set<std::string_view> words = {"true", "True", "TRUE", "false", "False", "FALSE", "yes",  "Yes",
                                                   "YES",  "no",   "No",   "NO",    "on",    "On",    "ON",   "off",
                                                   "Off",  "OFF",  ".inf", ".Inf",  ".INF",  ".nan",  ".NaN", ".NAN"};
  if (words.contains(text)) return true;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  if (text.starts_with("0x") || text.starts_with("0o")) return true;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error != std::errc::invalid_argument && end == text.data() + text.size() && text.front() != 'i' &&
         text.front() != 'n';
}

// One value with the path that names it in faults.
class Value {
 public:
  Value(const Node& node, std::string path, Context& context)
      : node_(&node), path_(std::move(path)), context_(&context) {}

  const Node& node() const { return *node_; }
  const std::string& path() const { return path_; }
  unsigned line() const { return node_->line; }
  void fault(std::string message) const { context_->fault(node_->line, path_, std::move(message)); }

  std::optional<std::string> text() const {
    if (node_->kind != Kind::scalar) return refuse("expected text, found {}", describe(node_->kind));
    if (!node_->quoted && is_plain_non_text(node_->text)) {
      return refuse("expected text; put {} in quotes", quote(node_->text));
    }
    return node_->text;
  }

  std::optional<bool> flag() const {
    if (node_->kind == Kind::scalar && !node_->quoted && node_->text == "true") return true;
    if (node_->kind == Kind::scalar && !node_->quoted && node_->text == "false") return false;
    return refuse("expected true or false, found {}", shown());
  }

  std::optional<std::uint64_t> integer(std::uint64_t min, std::uint64_t max) const {
    const auto& text = node_->text;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool decimal = end == text.data() + text.size() && (text.size() == 1 || !text.starts_with('0'));
    const bool valid = error == std::errc{} && decimal && node_->kind == Kind::scalar && !node_->quoted;
    if (!valid || number < min || number > max) {
      return refuse("expected an integer from {} to {}, found {}", min, max, shown());
    }
    return number;
  }

  // The items of a list.
  std::vector<Value> items() const {
    std::vector<Value> values;
    if (node_->kind != Kind::sequence) {
      fault(fmt::format("expected a list, found {}", describe(node_->kind)));
      return values;
    }
    values.reserve(node_->items.size());
    for (std::size_t i = 0; i < node_->items.size(); ++i) {
      values.emplace_back(node_->items[i], fmt::format("{}[{}]", path_, i), *context_);
    }
    return values;
  }

  Context& context() const { return *context_; }

  std::string shown() const {
    if (node_->kind != Kind::scalar) return std::string(describe(node_->kind));
    return node_->quoted ? "the text " + quote(node_->text) : quote(node_->text);
  }

 private:
  template <typename... Args>
  std::nullopt_t refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fault(fmt::format(format, std::forward<Args>(args)...));
    return std::nullopt;
  }

  const Node* node_;
  std::string path_;
  Context* context_;
};

template <typename T>
using Choices = std::span<const std::pair<std::string_view, T>>;

class Reader {
 public:
  // A mapping; anything else is a fault and reads as an empty one.
  explicit Reader(const Value& value) : Reader(&value.node(), value.path(), value.context()) {}
  // `node` is null for a section that is absent; faults about it then point to `line`.
  Reader(const Node* node, std::string path, Context& context, unsigned line = 1)
      : node_(node), line_(node != nullptr ? node->line : line), path_(std::move(path)), context_(&context) {
    if (node_ != nullptr && node_->kind == Kind::null) node_ = nullptr;
    if (node_ != nullptr && node_->kind != Kind::mapping) {
      context.fault(line_, path_, fmt::format("expected a mapping of keys, found {}", describe(node_->kind)));
      node_ = nullptr;
    }
  }

  // The value of `key`; nullopt when it is absent.
  std::optional<Value> find(std::string_view key) {
    asked_.insert(key);
    const Node* found = find_node(key);
    if (found == nullptr) context_->absent.insert(path_to(key));
    if (found == nullptr || (found->kind == Kind::null && context_->null_is_absent)) return std::nullopt;
    if (found->kind == Kind::null) {
      context_->fault(found->key_line, path_to(key), "has no value: give one or remove the key");
      return std::nullopt;
    }
    Value value(*found, path_to(key), *context_);
    context_->place(value.path(), found->line);
    return value;
  }

  Reader section(std::string_view key) {
    asked_.insert(key);
    const Node* found = find_node(key);
    auto path = path_to(key);
    if (found == nullptr)
      context_->absent.insert(path);
    else
      context_->place(path, found->line);
    return {found, std::move(path), *context_, line_};
  }

  std::vector<Value> list(std::string_view key, std::size_t max_items) {
    const auto value = find(key);
    if (!value) return {};
    auto items = value->items();
    if (items.size() > max_items) {
      value->fault(fmt::format("has {} items, at most {} are allowed", items.size(), max_items));
      items.erase(items.begin() + static_cast<std::ptrdiff_t>(max_items), items.end());
    }
    for (const auto& item : items) context_->place(item.path(), item.line());
    return items;
  }

  void read(std::string_view key, std::string& out) {
    if (const auto value = find(key)) assign(value->text(), out);
  }
  void read(std::string_view key, bool& out) {
    if (const auto value = find(key)) assign(value->flag(), out);
  }
  template <std::unsigned_integral T>
  void read(std::string_view key, T& out, std::uint64_t min, std::uint64_t max) {
    const auto value = find(key);
    const auto number = value ? value->integer(min, max) : std::nullopt;
    if (number) out = static_cast<T>(*number);
  }
  template <typename T>
  void read(std::string_view key, T& out, std::type_identity_t<Choices<T>> choices) {
    const auto value = find(key);
    const auto text = value ? value->text() : std::nullopt;
    if (!text) return;
    std::string names;
    for (const auto& [name, choice] : choices) {
      if (name == *text) {
        out = choice;
        return;
      }
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    value->fault(fmt::format("expected one of {}; found {}", names, value->shown()));
  }

  // A fault at the value of `key`, or at the mapping when it is absent.
  void fault(std::string_view key, std::string message) {
    const Node* found = find_node(key);
    const unsigned line = found == nullptr ? line_ : found->kind == Kind::null ? found->key_line : found->line;
    context_->fault(line, path_to(key), std::move(message));
  }

  // Reports every key that was not asked for. Call it last.
  void finish() {
    if (node_ == nullptr) return;
    std::string known;
    for (const auto& key : asked_) known += (known.empty() ? "" : ", ") + std::string(key);
    for (const auto& item : node_->items) {
      if (asked_.contains(item.key)) continue;
      if (context_->faults.size() >= max_faults) return;
      context_->fault(item.key_line, path_to(quote_unless_plain(item.key)), "is not a known key; known are " + known,
                      true);
    }
  }

  bool present() const { return node_ != nullptr; }
  unsigned line() const { return line_; }
  const std::string& path() const { return path_; }
  // The key-value pairs, for mappings whose keys are free; none counts as unknown afterwards.
  std::vector<Value> entries() {
    std::vector<Value> values;
    if (node_ == nullptr) return values;
    for (const auto& item : node_->items) {
      asked_.insert(item.key);
      values.emplace_back(item, path_to(quote_unless_plain(item.key)), *context_);
    }
    return values;
  }

 private:
  template <typename T>
  static void assign(std::optional<T> value, T& out) {
    if (value) out = *std::move(value);
  }

  static std::string quote_unless_plain(const std::string& key) {
    const bool plain = !key.empty() && key.size() <= 64 && std::all_of(key.begin(), key.end(), [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
    });
    return plain ? key : quote(key);
  }

  std::string path_to(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

  const Node* find_node(std::string_view key) const {
    if (node_ == nullptr) return nullptr;
    for (const auto& item : node_->items) {
      if (item.key == key) return &item;
    }
    return nullptr;
  }

  const Node* node_;
  unsigned line_;
  std::string path_;
  Context* context_;
  std::set<std::string_view> asked_;  // of string literals and of keys in the tree: both outlive the reader
};

}  // namespace sluice::settings::yaml

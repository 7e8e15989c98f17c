#include "kube/discovery.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <tuple>

namespace sluice::kube {
namespace {

namespace json = boost::json;

constexpr std::size_t max_entries = 1000;

Result<json::value> parse(std::string_view text, std::string_view list) {
  json::error_code error;
  auto value = json::parse(text, error);
  if (error) return Error("discovery: not valid JSON: " + error.message());
  const auto* object = value.if_object();
  const auto* found = object != nullptr ? object->if_contains(list) : nullptr;
  if (found == nullptr || !found->is_array())
    return Error("discovery: an answer without a list of " + std::string(list));
  if (found->get_array().size() > max_entries) return Error("discovery: an answer of more than 1000 entries");
  return value;
}

std::string text_of(const json::value& item, std::string_view key) {
  const auto* object = item.if_object();
  const auto* value = object != nullptr ? object->if_contains(key) : nullptr;
  const auto* text = value != nullptr ? value->if_string() : nullptr;
  return text != nullptr ? std::string(*text) : std::string();
}

bool has_verb(const json::value& item, std::string_view verb) {
  const auto* object = item.if_object();
  const auto* verbs = object != nullptr ? object->if_contains("verbs") : nullptr;
  if (verbs == nullptr || !verbs->is_array()) return false;
  const auto& list = verbs->get_array();
  return std::any_of(list.begin(), list.end(),
                     [&](const json::value& one) { return one.is_string() && one.get_string() == verb; });
}

// To be compared: "v1" is (3, 1, 0), "v1beta2" (2, 1, 2), "v1alpha3" (1, 1, 3), anything else (0, 0, 0).
std::tuple<int, unsigned, unsigned> rank(std::string_view version) {
  const auto take_number = [&](unsigned& number) {
    const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), number);
    version.remove_prefix(static_cast<std::size_t>(end - version.data()));
    return error == std::errc{};
  };
  unsigned major = 0;
  unsigned minor = 0;
  if (!version.starts_with('v')) return {0, 0, 0};
  version.remove_prefix(1);
  if (!take_number(major)) return {0, 0, 0};
  if (version.empty()) return {3, major, 0};
  const int stage = version.starts_with("beta") ? 2 : version.starts_with("alpha") ? 1 : 0;
  if (stage == 0) return {0, 0, 0};
  version.remove_prefix(stage == 2 ? 4 : 5);
  if (!take_number(minor) || !version.empty()) return {0, 0, 0};
  return {stage, major, minor};
}

// It becomes a part of paths.
bool is_plain(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.';
  });
}

}  // namespace

bool is_more_stable(std::string_view a, std::string_view b) {
  return rank(a) > rank(b);
}

Result<std::vector<std::string>> parse_group(std::string_view text) {
  const auto value = parse(text, "versions");
  if (!value) return value.error();
  std::vector<std::string> versions;
  for (const auto& item : value->get_object().at("versions").get_array()) {
    auto version = text_of(item, "version");
    if (is_plain(version)) versions.push_back(std::move(version));
  }
  std::sort(versions.begin(), versions.end(), is_more_stable);
  return versions;
}

Result<Resources> parse_resources(std::string_view text) {
  const auto value = parse(text, "resources");
  if (!value) return value.error();
  Resources resources;
  for (const auto& item : value->get_object().at("resources").get_array()) {
    auto name = text_of(item, "name");
    // "serviceentries/status" is a part of another.
    if (is_plain(name) && has_verb(item, "list") && has_verb(item, "watch")) resources[text_of(item, "kind")] = name;
  }
  return resources;
}

}  // namespace sluice::kube

#include "kube/object.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "kube/fields.h"

namespace sluice::kube {
namespace {

namespace json = boost::json;
namespace yaml = settings::yaml;

Result<json::value> parse(std::string_view text) {
  json::parse_options options;
  options.max_depth = max_json_depth;
  json::error_code error;
  auto value = json::parse(text, error, {}, options);
  if (error) return Error("not valid JSON: " + error.message());
  return value;
}

// As it is allowed to be shown in a log: of whatever sent it.
std::string printable(std::string_view text) {
  constexpr std::size_t longest = 300;
  std::string out(text.substr(0, longest));
  for (auto& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

EventType type_of(std::string_view name) {
  if (name == "ADDED" || name == "MODIFIED") return EventType::put;
  if (name == "DELETED") return EventType::removed;
  if (name == "BOOKMARK") return EventType::bookmark;
  return name == "ERROR" ? EventType::error : EventType::unknown;
}

std::string number_text(double number) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  return {digits.data(), end};
}

yaml::Node scalar(std::string text, bool quoted) {
  yaml::Node node;
  node.kind = yaml::Kind::scalar;
  node.quoted = quoted;
  node.text = std::move(text);
  return node;
}

yaml::Node sequence(const json::array& array) {
  yaml::Node node;
  node.kind = yaml::Kind::sequence;
  node.items.reserve(array.size());
  for (const auto& item : array) node.items.push_back(to_tree(item));
  return node;
}

yaml::Node mapping(const json::object& object) {
  yaml::Node node;
  node.kind = yaml::Kind::mapping;
  node.items.reserve(object.size());
  for (const auto& [key, value] : object) {
    node.items.push_back(to_tree(value));
    node.items.back().key = key;
  }
  return node;
}

}  // namespace

std::optional<Object> read_object(json::value content) {
  auto* whole = content.if_object();
  auto* found = whole != nullptr ? whole->if_contains("metadata") : nullptr;
  auto* metadata = found != nullptr ? found->if_object() : nullptr;
  if (metadata == nullptr) return std::nullopt;
  metadata->erase("managedFields");
  Object object;
  object.id = {find_text(*metadata, "namespace"), find_text(*metadata, "name")};
  object.uid = find_text(*metadata, "uid");
  object.version = find_text(*metadata, "resourceVersion");
  if (object.id.name.empty()) return std::nullopt;
  object.content = std::move(*whole);
  return object;
}

Result<ListPage> parse_list(std::string_view text) {
  auto value = parse(text);
  if (!value) return value.error();
  auto* list = value->if_object();
  auto* found = list != nullptr ? list->if_contains("items") : nullptr;
  const auto* metadata = list != nullptr ? find_object(*list, "metadata") : nullptr;
  if (found == nullptr || metadata == nullptr) return Error("a list without `items` or `metadata`");
  ListPage page;
  page.version = find_text(*metadata, "resourceVersion");
  page.next = find_text(*metadata, "continue");
  if (page.version.empty()) return Error("a list without metadata.resourceVersion");
  if (found->is_null()) return page;
  auto* items = found->if_array();
  if (items == nullptr) return Error("a list whose `items` are none");
  page.items.reserve(items->size());
  for (auto& item : *items) {
    if (auto object = read_object(std::move(item))) page.items.push_back(*std::move(object));
  }
  return page;
}

Result<Event> parse_event(std::string_view text) {
  auto value = parse(text);
  if (!value) return value.error();
  auto* whole = value->if_object();
  auto* found = whole != nullptr ? whole->if_contains("object") : nullptr;
  const auto* body = found != nullptr ? found->if_object() : nullptr;
  if (body == nullptr) return Error("an event without `object`");
  Event event;
  event.type = type_of(find_text(*whole, "type"));
  if (event.type == EventType::error) {
    event.code = static_cast<unsigned>(std::min<std::uint64_t>(find_count(*body, "code"), 999));
    event.message = printable(find_text(*body, "message"));
  } else if (event.type == EventType::bookmark) {
    const auto* metadata = find_object(*body, "metadata");
    if (metadata != nullptr) event.object.version = find_text(*metadata, "resourceVersion");
    if (event.object.version.empty()) return Error("a bookmark without metadata.resourceVersion");
  } else if (event.type != EventType::unknown) {
    auto object = read_object(std::move(*found));
    if (!object || object->version.empty()) return Error("an object without metadata.name or resourceVersion");
    event.object = *std::move(object);
  }
  return event;
}

Refusal parse_refusal(std::string_view text) {
  Refusal refusal;
  const auto value = parse(text);
  const auto* status = value ? value->if_object() : nullptr;
  if (status == nullptr) return refusal;
  refusal.message = printable(find_text(*status, "message"));
  const auto* details = find_object(*status, "details");
  if (details != nullptr) refusal.retry_after_s = find_count(*details, "retryAfterSeconds");
  return refusal;
}

yaml::Node to_tree(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return {};
    case json::kind::bool_:
      return scalar(value.get_bool() ? "true" : "false", false);
    case json::kind::int64:
      return scalar(std::to_string(value.get_int64()), false);
    case json::kind::uint64:
      return scalar(std::to_string(value.get_uint64()), false);
    case json::kind::double_:
      return scalar(number_text(value.get_double()), false);
    case json::kind::string:
      return scalar(std::string(value.get_string()), true);
    case json::kind::array:
      return sequence(value.get_array());
    case json::kind::object:
      return mapping(value.get_object());
  }
  return {};
}

}  // namespace sluice::kube

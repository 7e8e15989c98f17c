// Fields of objects as JSON, which may be anything.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

namespace sluice::kube {

// Null when it is none.
inline const boost::json::object* find_object(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr ? value->if_object() : nullptr;
}

inline const boost::json::array* find_array(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr ? value->if_array() : nullptr;
}

// Empty when it is none.
inline std::string find_text(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* text = value != nullptr ? value->if_string() : nullptr;
  return text != nullptr ? std::string(*text) : std::string();
}

// 0 when it is no positive integer.
inline std::uint64_t find_count(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* count = value != nullptr ? value->if_int64() : nullptr;
  return count != nullptr && *count > 0 ? static_cast<std::uint64_t>(*count) : 0;
}

inline bool find_true(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* flag = value != nullptr ? value->if_bool() : nullptr;
  return flag != nullptr && *flag;
}

// The members that are texts.
inline std::map<std::string, std::string> find_texts(const boost::json::object& object, std::string_view key) {
  std::map<std::string, std::string> texts;
  const auto* found = find_object(object, key);
  if (found == nullptr) return texts;
  for (const auto& [name, value] : *found) {
    if (const auto* text = value.if_string()) texts.emplace(name, *text);
  }
  return texts;
}

// `content`'s member `part` becomes that of its members that are in `keys`.
inline void keep(boost::json::object& content, std::string_view part, std::initializer_list<std::string_view> keys) {
  auto* value = content.if_contains(part);
  auto* object = value != nullptr ? value->if_object() : nullptr;
  if (object == nullptr) return;
  boost::json::object kept;
  for (const auto key : keys) {
    if (auto* member = object->if_contains(key)) kept.emplace(key, std::move(*member));
  }
  *value = std::move(kept);
}

// An empty one when there is none.
inline const boost::json::object& part_of(const boost::json::object& object, std::string_view name) {
  static const boost::json::object none;
  const auto* found = find_object(object, name);
  return found != nullptr ? *found : none;
}

}  // namespace sluice::kube

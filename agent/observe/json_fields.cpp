#include "observe/json_fields.h"

#include <boost/json.hpp>

#include "observe/json_text.h"

namespace sluice::observe {

namespace json = boost::json;

JsonFields::JsonFields(const json::value* value) : object_(value == nullptr ? nullptr : value->if_object()) {}

const json::value* JsonFields::find(std::string_view key) const {
  return object_ == nullptr ? nullptr : object_->if_contains(key);
}

std::string JsonFields::text(std::string_view key) const {
  const auto* value = find(key);
  return value != nullptr && value->is_string() ? printable(value->get_string(), max_cell_bytes) : "";
}

std::uint64_t JsonFields::number(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return 0;
  if (value->is_uint64()) return value->get_uint64();
  return value->is_int64() && value->get_int64() > 0 ? static_cast<std::uint64_t>(value->get_int64()) : 0;
}

std::optional<double> JsonFields::real(std::string_view key) const {
  const auto* value = find(key);
  return value != nullptr && value->is_number() ? std::optional(value->to_number<double>()) : std::nullopt;
}

bool JsonFields::flag(std::string_view key) const {
  const auto* value = find(key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

const json::array& JsonFields::list(std::string_view key) const {
  static const json::array none;
  const auto* value = find(key);
  return value != nullptr && value->is_array() ? value->get_array() : none;
}

}  // namespace sluice::observe

#include "resources/names.h"

#include <algorithm>

namespace sluice::resources {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_alphanumeric(char c) {
  return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z');
}
bool is_number(std::string_view text) {
  return std::all_of(text.begin(), text.end(), is_digit);
}
bool is_lower_case(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c < 'A' || c > 'Z'; });
}

// The labels of `text` are all sound; `tail` gets the last one.
bool has_sound_labels(std::string_view text, std::string_view& tail) {
  while (true) {
    const auto dot = text.find('.');
    tail = text.substr(0, dot);
    if (!is_label(tail)) return false;
    if (dot == text.npos) return true;
    text.remove_prefix(dot + 1);
  }
}

}  // namespace

bool is_label(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_alphanumeric(text.front()) && is_alphanumeric(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_alphanumeric(c) || c == '-'; });
}

bool is_object_name(std::string_view text) {
  std::string_view tail;
  return text.size() <= 253 && has_sound_labels(text, tail) && is_lower_case(text);
}

bool is_namespace(std::string_view text) {
  return is_label(text) && is_lower_case(text);
}

bool is_label_value(std::string_view text) {
  if (text.empty()) return true;
  return text.size() <= 63 && is_alphanumeric(text.front()) && is_alphanumeric(text.back()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_label_key(std::string_view text) {
  const auto slash = text.find('/');
  if (slash != text.npos && !is_object_name(text.substr(0, slash))) return false;
  const auto name = slash == text.npos ? text : text.substr(slash + 1);
  return !name.empty() && is_label_value(name);
}

bool is_dns_name(std::string_view text) {
  std::string_view tail;
  return text.size() <= 255 && has_sound_labels(text, tail) && !is_number(tail);
}

bool is_wildcard_dns_name(std::string_view text) {
  if (!text.starts_with('*')) return is_dns_name(text);
  if (text.size() > 255) return false;
  const auto dot = text.find('.');
  auto first = text.substr(1, dot == text.npos ? text.npos : dot - 1);
  if (first.starts_with('-')) first.remove_prefix(1);
  if (!first.empty() && !is_label(first)) return false;
  if (first.empty() && text.starts_with("*-")) return false;
  return dot == text.npos || is_dns_name(text.substr(dot + 1));
}

std::string normalise_name(std::string_view text) {
  if (text.size() > 1 && text.ends_with('.')) text.remove_suffix(1);
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

}  // namespace sluice::resources

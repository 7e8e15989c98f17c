#include "resources/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "policy/http_match.h"
#include "resources/names.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_exports = 1024;
constexpr std::size_t max_regex_bytes = 1024;

constexpr std::pair<std::string_view, double> units_ms[] = {{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1},
                                                            {"s", 1e3},   {"m", 60e3},  {"h", 3600e3}};

// Numbers with units, one after another: "1m30s".
std::optional<double> parse_duration_ms(std::string_view text) {
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc{} || !std::isfinite(number) || text.front() == '-') return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const auto unit_size = std::min(text.find_first_not_of("nmsuh"), text.size());
    const auto unit = std::find_if(std::begin(units_ms), std::end(units_ms),
                                   [&](const auto& known) { return known.first == text.substr(0, unit_size); });
    if (unit == std::end(units_ms)) return std::nullopt;
    total += number * unit->second;
    text.remove_prefix(unit_size);
  }
  return total;
}

std::optional<std::uint32_t> duration_of(const yaml::Value& value) {
  // Unquoted like any other scalar: "5s" is no number, but "0" is one.
  const auto total =
      value.node().kind == yaml::Kind::scalar ? parse_duration_ms(value.node().text) : std::optional<double>();
  if (!total || std::ceil(*total) > std::numeric_limits<std::uint32_t>::max()) {
    value.fault("expected a duration like 10s, 250ms or 1h30m, found " + value.shown());
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(std::ceil(*total));
}

std::optional<double> number_of(const yaml::Value& value) {
  const auto& text = value.node().text;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool valid = value.node().kind == yaml::Kind::scalar && !value.node().quoted && error == std::errc{} &&
                     end == text.data() + text.size() && std::isfinite(number) && number >= 0;
  if (valid) return number;
  value.fault("expected a number from 0, found " + value.shown());
  return std::nullopt;
}

void check_choice(const yaml::Value& value, std::span<const std::string_view> choices) {
  const auto text = value.text();
  if (!text || std::find(choices.begin(), choices.end(), *text) != choices.end()) return;
  value.fault(fmt::format("expected one of {}; found {}", fmt::join(choices, ", "), value.shown()));
}

void check_object(const yaml::Value& value, std::span<const Field> fields) {
  yaml::Reader reader(value);
  check_fields(reader, fields);
  reader.finish();
}

void check_items(const yaml::Value& value, const Field& field) {
  for (const auto& item : value.items()) {
    if (field.type == Field::Type::texts) item.text();
    if (field.type == Field::Type::objects) check_object(item, field.fields);
  }
}

void check_map(const yaml::Value& value, const Field& field) {
  for (const auto& entry : yaml::Reader(value).entries()) {
    if (field.type == Field::Type::count_map)
      entry.integer(0, max_count);
    else
      entry.text();
  }
}

void check_field(const yaml::Value& value, const Field& field) {
  using Type = Field::Type;
  switch (field.type) {
    case Type::text:
      value.text();
      return;
    case Type::flag:
      value.flag();
      return;
    case Type::count:
      value.integer(0, max_count);
      return;
    case Type::number:
      number_of(value);
      return;
    case Type::duration:
      duration_of(value);
      return;
    case Type::choice:
      return check_choice(value, field.choices);
    case Type::text_map:
    case Type::count_map:
      return check_map(value, field);
    case Type::texts:
    case Type::objects:
      return check_items(value, field);
    case Type::object:
      return check_object(value, field.fields);
  }
}

}  // namespace

Labels read_labels(yaml::Reader reader) {
  Labels labels;
  for (const auto& entry : reader.entries()) {
    const auto text = entry.text();
    if (!text) continue;
    if (!is_label_key(entry.node().key) || !is_label_value(*text)) {
      entry.fault("expected a label: at most 63 letters, digits, '-', '_' and '.', found " + entry.shown());
      continue;
    }
    labels.emplace(entry.node().key, *text);
  }
  return labels;
}

std::vector<std::string> read_texts(yaml::Reader& reader, std::string_view key) {
  std::vector<std::string> texts;
  for (const auto& item : reader.list(key, max_list_items)) {
    if (auto text = item.text()) texts.push_back(*std::move(text));
  }
  return texts;
}

std::vector<std::string> read_export_to(yaml::Reader& spec, const std::string& own_namespace, bool allow_nobody) {
  std::vector<std::string> exports;
  std::set<std::string> seen;
  const auto expected =
      fmt::format("expected \".\", \"*\"{} or the name of a namespace", allow_nobody ? ", \"~\"" : "");
  for (const auto& item : spec.list("exportTo", max_exports)) {
    if (item.node().kind == yaml::Kind::null) {
      item.fault(allow_nobody ? "expected text; put ~ in quotes: \"~\"" : expected + ", found nothing");
      continue;
    }
    const auto text = item.text();
    if (!text) continue;
    const auto& name = *text == "." ? own_namespace : *text;
    if (name != "*" && !(allow_nobody && name == "~") && !is_namespace(name)) {
      item.fault(expected + ", found " + item.shown());
    } else if (!seen.insert(name).second) {
      item.fault(yaml::quote(name) + " is there already (\".\" is the object's own namespace): remove one");
    } else {
      exports.push_back(name);
    }
  }
  for (const auto* alone : {"*", "~"}) {
    if (seen.contains(alone) && seen.size() > 1) {
      spec.fault("exportTo", fmt::format("\"{}\" stands alone: remove it or the others", alone));
    }
  }
  if (seen.contains("*")) exports.clear();
  return exports;
}

std::optional<std::uint32_t> read_duration_ms(yaml::Reader& reader, std::string_view key) {
  const auto value = reader.find(key);
  return value ? duration_of(*value) : std::nullopt;
}

std::optional<double> read_number(yaml::Reader& reader, std::string_view key) {
  const auto value = reader.find(key);
  return value ? number_of(*value) : std::nullopt;
}

std::optional<std::uint16_t> read_port_number(yaml::Reader& reader, std::string_view key) {
  const auto value = reader.find(key);
  const auto number = value ? value->integer(1, 65535) : std::nullopt;
  return number ? std::optional(static_cast<std::uint16_t>(*number)) : std::nullopt;
}

std::string complete_host(std::string host, std::string_view namespace_name) {
  if (host.starts_with('*') || host.find('.') != host.npos || IpAddress::parse(host)) return host;
  return fmt::format("{}.{}.{}", host, namespace_name, cluster_domain);
}

void check_regex(const yaml::Value& value, const std::string& text) {
  if (text.size() > max_regex_bytes) return value.fault("is longer than 1,024 bytes: shorten it");
  const auto fault = find_regex_fault(text);
  if (!fault.empty()) value.fault("is no RE2 expression: " + fault);
}

std::optional<StringMatch> read_string_match(const yaml::Value& value, bool may_be_empty) {
  using Kind = StringMatch::Kind;
  constexpr std::pair<std::string_view, Kind> kinds[] = {
      {"exact", Kind::exact}, {"prefix", Kind::prefix}, {"regex", Kind::regex}};
  yaml::Reader reader(value);
  std::optional<StringMatch> match;
  for (const auto& [name, kind] : kinds) {
    const auto found = reader.find(name);
    const auto text = found ? found->text() : std::nullopt;
    if (!text) continue;
    if (match) found->fault("exact, prefix and regex exclude each other: keep one of them");
    if (text->empty() && !(may_be_empty && kind == Kind::exact)) found->fault("is empty: say what to match");
    if (kind == Kind::regex) check_regex(*found, *text);
    match = StringMatch{text->empty() ? Kind::present : kind, *text};
  }
  reader.finish();
  if (!match && may_be_empty) return StringMatch{Kind::present, ""};
  if (!match && reader.present()) value.fault("expected one of exact, prefix and regex");
  return match;
}

std::vector<std::string> check_fields(yaml::Reader& reader, std::span<const Field> fields) {
  std::vector<std::string> present;
  for (const auto& field : fields) {
    const auto value = reader.find(field.name);
    if (!value) continue;
    present.emplace_back(field.name);
    check_field(*value, field);
  }
  return present;
}

}  // namespace sluice::resources

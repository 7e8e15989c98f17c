// Members of a JSON object that may be anything, for showing: what is missing or of another type is empty or zero.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::observe {

// Longer texts are cut.
inline constexpr std::size_t max_cell_bytes = 120;

// A view of a value that outlives it; of a null pointer or of what is no object it has no members.
class JsonFields {
 public:
  explicit JsonFields(const boost::json::value* value);

  const boost::json::value* find(std::string_view key) const;
  // Made printable for a terminal.
  std::string text(std::string_view key) const;
  std::uint64_t number(std::string_view key) const;
  std::optional<double> real(std::string_view key) const;
  bool flag(std::string_view key) const;
  JsonFields object(std::string_view key) const { return JsonFields(find(key)); }
  // The elements of an array.
  boost::json::array const& list(std::string_view key) const;

 private:
  const boost::json::object* object_;
};

}  // namespace sluice::observe

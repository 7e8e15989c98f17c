// Text of unknown origin as a JSON string.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::observe {

// Appends `text` in quotes. The result is one line of valid UTF-8 whatever `text` is: quotes, backslashes, control
// characters (C0, DEL, C1) and characters that change the order or the lines of the text around them are escaped,
// invalid bytes become U+FFFD. Between the quotes are at most `max_bytes` (at least 3) bytes; what is cut ends in "…".
void append_json_text(std::string& out, std::string_view text, std::size_t max_bytes);

// The same without quotes and without escaping quotes and backslashes: for a terminal.
std::string printable(std::string_view text, std::size_t max_bytes);

}  // namespace sluice::observe

// The lines of an HTTP/1 head (RFC 9112 sections 2.1 and 5), for both directions.
#pragma once

#include <optional>
#include <string_view>
#include <variant>

#include "wire/http_head.h"

namespace sluice::wire {

// A head that is all there, without the empty line that ends it.
struct HeadLines {
  std::string_view start_line;  // without its CRLF
  std::string_view fields;      // each line with its CRLF
  std::size_t wire_bytes;       // the empty line included
};
using LinesResult = std::variant<NeedMore, HeadLines, Malformed, TooLarge>;

// Finds the end of a head by its line ends alone: fast enough to ask again after every segment.
LinesResult find_head(std::string_view bytes);

// What the fields of a head say about the message. Views into the head.
struct Fields {
  // Of requests only:
  std::optional<std::string_view> host;
  bool upgrade = false;           // Connection: upgrade with an Upgrade field
  bool expects_continue = false;  // Expect: 100-continue
  // Of both:
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool close = false;       // Connection: close
  bool keep_alive = false;  // Connection: keep-alive
};
enum class Direction { request, response };

// Reads all lines; the field that is wrong as static text, empty: none. `minor_version` is that of the start line.
std::string_view read_fields(std::string_view lines, Direction direction, unsigned minor_version, Fields& fields);

// "HTTP/1.0" or "HTTP/1.1" to 0 or 1.
std::optional<unsigned> parse_http_version(std::string_view text);

}  // namespace sluice::wire

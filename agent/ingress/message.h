// HTTP messages between the two sides of an exchange, in no version of the protocol: heads as views, what belongs to
// one hop left out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "policy/http_actions.h"
#include "wire/http_head.h"

namespace sluice::ingress {

struct Field {
  std::string_view name;  // as it came; of HTTP/2 always in lower case
  std::string_view value;
};
using Fields = std::vector<Field>;

// Text that views lead to: it stays where it is until clear(), which keeps the memory for the next.
class Arena {
 public:
  std::string_view keep(std::string_view text);
  std::string_view lower(std::string_view text);
  // Room for `size` bytes.
  char* room(std::size_t size);
  void clear();

 private:
  static constexpr std::size_t block_bytes = 4096;
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };
  std::vector<Block> blocks_;  // of block_bytes
  std::vector<Block> large_;
  std::size_t block_ = 0;  // the one in use
  std::size_t used_ = 0;   // of that
};

// What a head says about its connection and its body (RFC 9110 section 7.6.1), besides its fields.
struct HopFields {
  bool trailers = false;     // TE: trailers
  std::string_view upgrade;  // Upgrade, where Connection names it
  std::string_view content_length;
  std::string_view host;
  bool expects_continue = false;
};

// Appends the end-to-end fields of `lines` ("Name: value" CRLF each, checked) to `fields`. Left out are Host,
// Content-Length (see `hop`), Expect, what Connection names and what is of one hop by nature.
void read_end_to_end(std::string_view lines, Fields& fields, HopFields& hop);
// Is it of the message, and not of the connection, its framing or its routing?
bool is_end_to_end(std::string_view name);
// May it stand behind a message (RFC 9110 section 6.5.1)?
bool may_trail(std::string_view name);

// For rules to alter: with names in lower case.
HeaderFields to_owned(const Fields& fields, Arena& arena);
// What rules made of them, in place of `fields`. They may name anything: what frames a message, or is of one hop, is
// not theirs to say.
void to_views(const HeaderFields& owned, Fields& fields);

const Field* find_field(const Fields& fields, std::string_view name);
bool same_name(std::string_view left, std::string_view right);

// A request as it came. Its views lead into `text`, which stays where it is.
struct Request {
  std::string text;
  std::string_view method;
  std::string_view authority;  // as it was sent
  std::string_view target;     // path and query, "*" with OPTIONS
  std::string_view lines;      // the field lines
  wire::Authority host;        // the authority's, normalised
  Fields fields;               // end to end, without content-length
  HopFields hop;
  bool ends = false;  // there is no body
  bool expects_continue = false;
  bool is_encrypted = false;  // came over TLS
  std::array<char, 24> websocket_key{};

  void clear();
  std::string_view scheme() const { return is_encrypted ? "https" : "http"; }
  // Makes the request for a tunnel of HTTP/2 (RFC 8441) the one that HTTP/1.1 has for it (RFC 6455 section 4.1).
  void ask_for_websocket();
  bool is_head() const { return method == "HEAD"; }
  bool is_idempotent() const;  // RFC 9110 section 9.2.2
};

// What goes upstream of it. Views into what the exchange keeps.
struct OutgoingRequest {
  std::string_view method;
  std::string_view scheme;
  std::string_view authority;
  std::string_view target;
  const Fields* fields = nullptr;  // without content-length
  std::string_view content_length;
  std::string_view upgrade;
  bool trailers = false;
  bool ends = false;
};

// An answer's head.
struct Answer {
  unsigned status = 0;
  const Fields* fields = nullptr;  // without content-length
  std::string_view content_length;
  std::string_view upgrade;  // of a 101
  bool ends = false;         // nothing follows
};

// "OK" of 200; "" of what has no name.
std::string_view reason_phrase(unsigned status);

}  // namespace sluice::ingress

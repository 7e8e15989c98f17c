// HTTP/1.1 message heads and body framing (RFC 9112), strict where looseness lets two parsers disagree. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/bytes.h"
#include "wire/client_hello.h"  // NeedMore, Malformed, TooLarge
#include "wire/host_name.h"

namespace sluice::wire {

inline constexpr std::size_t max_head_bytes = 64 * 1024;
inline constexpr std::size_t max_head_fields = 200;

// How the bytes after a head are framed.
struct Framing {
  enum class Kind : std::uint8_t { none, length, chunked, until_close };
  Kind kind = Kind::none;
  std::uint64_t length = 0;  // Kind::length
};

struct RequestHead {
  std::string method;
  std::string target;      // as sent, in origin-, absolute- or asterisk-form
  std::string path;        // without query; "*" for asterisk-form
  Authority authority;     // from Host; equal to the target's in absolute-form
  unsigned minor_version;  // HTTP/1.0 or HTTP/1.1
  Framing framing;
  bool keep_alive;         // RFC 9112 section 9.3
  bool expects_continue;   // Expect: 100-continue
  bool upgrade;            // Connection: upgrade with an Upgrade field
  std::size_t wire_bytes;  // bytes of the head, the empty line included
};

struct HostMissing {};   // HTTP/1.1 without Host, or an empty one
struct HostMismatch {};  // absolute-form target and Host disagree
struct NotHttp {};       // the first bytes cannot begin an HTTP/1 request line
using RequestResult = std::variant<NeedMore, RequestHead, NotHttp, Malformed, TooLarge, HostMissing, HostMismatch>;

// Refused as Malformed: bare CR or LF, folded lines, space before a colon, control bytes, a second Host, a second or
// non-decimal Content-Length, Content-Length together with Transfer-Encoding, any transfer coding but a single final
// "chunked", Transfer-Encoding in HTTP/1.0, CONNECT, authority-form, userinfo, "PRI * HTTP/2.0", Upgrade: h2c, and a
// Connection field naming Host, Content-Length or Transfer-Encoding. Tokens and field values follow RFC 9110 section 5.
RequestResult parse_request_head(ByteSpan bytes);

struct ResponseHead {
  unsigned status;
  unsigned minor_version;
  Framing framing;         // none for 1xx, 204, 304, and for an answer to HEAD
  bool keep_alive;
  std::size_t wire_bytes;
};
using ResponseResult = std::variant<NeedMore, ResponseHead, Malformed, TooLarge>;
// `request_method` decides the framing of answers to HEAD. Bounded and strict like requests.
ResponseResult parse_response_head(ByteSpan bytes, std::string_view request_method);

// Follows one message body through any split of its bytes.
class BodyReader {
 public:
  explicit BodyReader(Framing framing);
  // How many of `bytes` belong to this body (framing included). Malformed chunk framing: nullopt, and the body is
  // unusable. After done() is true it takes 0.
  std::optional<std::size_t> consume(ByteSpan bytes);
  bool done() const;
  // Body bytes that are certain to follow, for splicing without looking: the rest of a length or of the current chunk.
  std::uint64_t certain_bytes() const;
  // Says that `count` (at most certain_bytes()) bytes passed without being shown.
  void skip(std::uint64_t count);

 private:
  enum class State : std::uint8_t {
    done, data, until_close, size, size_extension, size_lf, chunk_data, chunk_cr, chunk_lf,
    trailer_start, trailer, trailer_lf, final_lf, broken,
  };
  State state_;
  std::uint64_t left_ = 0;
  std::uint32_t digits_ = 0;
  std::uint32_t line_bytes_ = 0;
};

}  // namespace sluice::wire

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

inline constexpr std::size_t max_head_bytes = std::size_t{64} * 1024;
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

struct HostMissing {};   // no Host, or an empty one, in HTTP/1.0 too: there is nothing to judge
struct HostMismatch {};  // absolute-form target and Host disagree
struct NotHttp {};       // the first bytes cannot begin an HTTP/1 request line
using RequestResult = std::variant<NeedMore, RequestHead, NotHttp, Malformed, TooLarge, HostMissing, HostMismatch>;

// Of targets in absolute-form.
enum class TargetScheme : std::uint8_t { http, http_or_https };

// Refused as Malformed: bare CR or LF, folded lines, space before a colon, control bytes, a second Host, a second or
// non-decimal Content-Length, Content-Length together with Transfer-Encoding, any transfer coding but a single final
// "chunked", Transfer-Encoding in HTTP/1.0, CONNECT, authority-form, a scheme but `scheme`, userinfo, a fragment,
// "PRI * HTTP/2.0", Upgrade: h2c, any expectation but 100-continue, and a Connection field naming Host, Content-Length
// or Transfer-Encoding. Tokens and field values follow RFC 9110 section 5; methods are at most 32 bytes. An incomplete
// head is refused early for its method, its version and its line ends, the rest when it is complete.
RequestResult parse_request_head(ByteSpan bytes, TargetScheme scheme = TargetScheme::http);

struct ResponseHead {
  unsigned status;
  unsigned minor_version;
  Framing framing;  // none for 1xx, 204, 304, and for an answer to HEAD
  bool keep_alive;
  std::size_t wire_bytes;
};
using ResponseResult = std::variant<NeedMore, ResponseHead, Malformed, TooLarge>;
// `request_method` decides the framing of answers to HEAD. Bounded and strict like requests.
ResponseResult parse_response_head(ByteSpan bytes, std::string_view request_method);

inline constexpr std::size_t max_chunk_line_bytes = 1024;
inline constexpr std::size_t max_trailer_bytes = std::size_t{16} * 1024;

// Follows one message body through any split of its bytes. Chunk framing is read as strictly as heads are: at most 16
// hexadecimal digits, at once followed by CRLF or ";", extensions and trailers of bounded size without control bytes,
// trailers that are fields.
class BodyReader {
 public:
  explicit BodyReader(Framing framing);
  // How many of `bytes` belong to this body (framing included). Malformed chunk framing: nullopt, and the body is
  // unusable. After done() is true it takes 0.
  std::optional<std::size_t> consume(ByteSpan bytes);
  bool done() const;
  // Body bytes that are certain to follow, for splicing without looking: the rest of a length or of the current chunk.
  std::uint64_t certain_bytes() const;
  // Says that `count` (at most certain_bytes(), else the body is unusable) bytes passed without being shown.
  void skip(std::uint64_t count);

 private:
  enum class State : std::uint8_t {
    done,
    data,
    until_close,
    size,
    size_extension,
    size_lf,
    chunk_data,
    chunk_cr,
    chunk_lf,
    trailer_start,
    trailer_name,
    trailer_value,
    trailer_lf,
    final_lf,
    broken,
  };
  // One byte of chunk framing. False: it is wrong there.
  bool step(char byte);
  bool step_size(char byte);
  bool step_trailer(char byte);
  void begin_line(State state);

  State state_;
  std::uint64_t left_ = 0;        // of the length or of the chunk
  std::uint32_t digits_ = 0;      // of the chunk size so far
  std::uint32_t line_bytes_ = 0;  // of the chunk's size line, or of all trailers
};

}  // namespace sluice::wire

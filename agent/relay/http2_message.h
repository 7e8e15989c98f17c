// HTTP/1.1 messages (RFC 9112) as HTTP/2 says them (RFC 9113 section 8) and back. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wire/http_head.h"

namespace sluice::relay {

using Field = std::pair<std::string, std::string>;  // name in lower case, value

// The fields of a request over https: pseudo-header fields first, then those of `bytes`, its whole and checked head,
// without what belongs to one hop only: a wish to upgrade is not passed on.
std::vector<Field> to_http2(const wire::RequestHead& head, ByteSpan bytes);

// Takes the content of one request body out of its HTTP/1.1 framing.
class BodyContent {
 public:
  explicit BodyContent(wire::Framing framing) : reader_(framing) {}

  // The next content in `bytes`, which then begins behind it; empty: they are used up, or the body is done. nullopt:
  // the framing is wrong.
  std::optional<ByteSpan> next(ByteSpan& bytes);
  bool done() const { return reader_.done(); }
  // After done().
  const std::vector<Field>& trailers() const { return trailers_; }

 private:
  void note(char byte);

  wire::BodyReader reader_;
  std::string line_;  // of the framing, so far
  bool last_chunk_ = false;
  std::vector<Field> trailers_;
};

// Writes an answer that comes as HTTP/2 as HTTP/1.1: its length as told, else in chunks, or to a HTTP/1.0 client up to
// the end of the connection. What comes in is kept until it is taken.
class Http1Answer {
 public:
  // To a request with `method`.
  Http1Answer(std::string method, unsigned minor_version) : method_(std::move(method)), minor_version_(minor_version) {}

  // The fields of one block, pseudo-header fields included. False: it is malformed or larger than
  // wire::max_head_bytes.
  bool add_field(std::string_view name, std::string_view value);
  // The block is complete: an interim head, the head, or trailers. False: not here, without status, or behind interim
  // heads of more than wire::max_head_bytes that were not taken.
  bool end_fields(bool end_of_answer);
  void add_content(ByteSpan content);
  void end();

  // Moves bytes to `buffer`: how many; `content` grows by what of them was content.
  std::size_t take(std::span<std::uint8_t> buffer, std::size_t& content);
  bool has_bytes() const;
  // All of it came.
  bool complete() const { return ended_; }
  // Taken, and the connection has to end for the client to know.
  bool ends_connection() const { return ended_ && framing_ == Framing::until_close && !has_bytes(); }

 private:
  enum class Framing : std::uint8_t { none, length, chunked, until_close };

  void end_head(bool end_of_answer);

  std::string method_;
  unsigned minor_version_;
  Framing framing_ = Framing::none;
  bool has_head_ = false;
  bool ended_ = false;
  // Of the block that is being received:
  unsigned status_ = 0;
  bool has_length_ = false;
  std::string lines_;
  // To be taken: first `out_`, then `content_`, framed.
  std::string out_;
  std::size_t out_taken_ = 0;
  std::string content_;
  std::size_t content_taken_ = 0;
  std::string trailers_;
  bool last_chunk_out_ = false;
};

}  // namespace sluice::relay

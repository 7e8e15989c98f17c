#include <algorithm>
#include <limits>

#include "wire/ascii.h"
#include "wire/http_head.h"

namespace sluice::wire {
namespace {

constexpr std::uint32_t max_size_digits = 16;

std::uint64_t hex_value(char digit) {
  return static_cast<std::uint64_t>(is_digit(digit) ? digit - '0' : to_lower(digit) - 'a' + 10);
}

}  // namespace

BodyReader::BodyReader(Framing framing) : state_(State::done) {
  switch (framing.kind) {
    case Framing::Kind::none:
      break;
    case Framing::Kind::length:
      left_ = framing.length;
      if (left_ > 0) state_ = State::data;
      break;
    case Framing::Kind::chunked:
      state_ = State::size;
      break;
    case Framing::Kind::until_close:
      state_ = State::until_close;
      break;
  }
}

std::optional<std::size_t> BodyReader::consume(ByteSpan bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && state_ != State::done && state_ != State::broken) {
    if (state_ == State::until_close) return bytes.size();
    if (const auto certain = certain_bytes(); certain > 0) {
      const auto count = std::min<std::uint64_t>(certain, bytes.size() - taken);
      skip(count);
      taken += count;
    } else if (!step(static_cast<char>(bytes[taken++]))) {
      state_ = State::broken;
    }
  }
  if (state_ == State::broken) return std::nullopt;
  return taken;
}

bool BodyReader::done() const {
  return state_ == State::done;
}

std::uint64_t BodyReader::certain_bytes() const {
  return state_ == State::data || state_ == State::chunk_data ? left_ : 0;
}

void BodyReader::skip(std::uint64_t count) {
  if (count > certain_bytes()) {
    state_ = State::broken;
    return;
  }
  left_ -= count;
  if (left_ == 0 && state_ == State::data) state_ = State::done;
  if (left_ == 0 && state_ == State::chunk_data) state_ = State::chunk_cr;
}

bool BodyReader::step(char byte) {
  switch (state_) {
    case State::size:
    case State::size_extension:
    case State::size_lf:
      return step_size(byte);
    case State::chunk_cr:
      state_ = State::chunk_lf;
      return byte == '\r';
    case State::chunk_lf:
      begin_line(State::size);
      return byte == '\n';
    case State::trailer_start:
    case State::trailer_name:
    case State::trailer_value:
    case State::trailer_lf:
    case State::final_lf:
      return step_trailer(byte);
    case State::done:
    case State::data:
    case State::until_close:
    case State::chunk_data:
    case State::broken:
      break;
  }
  return false;
}

// RFC 9112 section 7.1: chunk-size [ chunk-ext ] CRLF.
bool BodyReader::step_size(char byte) {
  if (++line_bytes_ > max_chunk_line_bytes) return false;
  if (state_ == State::size_lf) {
    if (left_ > 0) {
      state_ = State::chunk_data;
    } else {
      begin_line(State::trailer_start);
    }
    return byte == '\n';
  }
  if (state_ == State::size && is_hex_digit(byte)) {
    if (++digits_ > max_size_digits || left_ > std::numeric_limits<std::int64_t>::max() >> 4) return false;
    left_ = left_ << 4 | hex_value(byte);
    return true;
  }
  if (digits_ == 0) return false;
  if (byte == '\r') {
    state_ = State::size_lf;
    return true;
  }
  // No blank after the size: some read "5 5" as 5, others as 0x55.
  if (state_ == State::size && byte != ';') return false;
  state_ = State::size_extension;
  return is_value_char(byte);
}

// RFC 9112 section 7.1.2: field lines, then an empty one.
bool BodyReader::step_trailer(char byte) {
  if (++line_bytes_ > max_trailer_bytes) return false;
  switch (state_) {
    case State::trailer_start:
      state_ = byte == '\r' ? State::final_lf : State::trailer_name;
      return byte == '\r' || is_token_char(byte);
    case State::trailer_name:
      if (byte == ':') state_ = State::trailer_value;
      return byte == ':' || is_token_char(byte);
    case State::trailer_value:
      if (byte == '\r') state_ = State::trailer_lf;
      return byte == '\r' || is_value_char(byte);
    case State::trailer_lf:
      state_ = State::trailer_start;
      return byte == '\n';
    default:
      state_ = State::done;
      return byte == '\n';
  }
}

void BodyReader::begin_line(State state) {
  state_ = state;
  left_ = 0;
  digits_ = 0;
  line_bytes_ = 0;
}

}  // namespace sluice::wire

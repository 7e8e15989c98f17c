#include "ingress/http1_server.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "ingress/desk.h"
#include "ingress/http1_text.h"

namespace sluice::ingress {
namespace {

// Up to this size a head is parsed after every read, which tells early what is no HTTP; beyond it only once the empty
// line may be there, so that a client sending single bytes costs no quadratic work.
constexpr std::size_t eager_head_bytes = 512;

bool may_be_whole(ByteSpan bytes, std::size_t before) {
  if (before < eager_head_bytes) return true;
  constexpr std::array<std::uint8_t, 2> end = {'\n', '\r'};
  return std::search(bytes.begin() + static_cast<std::ptrdiff_t>(before - 3), bytes.end(), end.begin(), end.end()) !=
         bytes.end();
}

}  // namespace

Http1Server::~Http1Server() = default;

bool Http1Server::wants_input() const {
  if (connection_.is_over() || paused_) return false;
  return exchange_ != nullptr ? !request_ended_ : !closes_;
}

bool Http1Server::awaits_client() const {
  return exchange_ != nullptr ? !request_ended_ && !paused_ && !raw_ : !kept_.empty();
}

void Http1Server::on_input() {
  if (!kept_.empty() && wants_input()) take({});
  while (wants_input()) {
    const auto buffer = connection_.channel().buffers().reading();
    std::size_t size = 0;
    switch (connection_.channel().read(buffer, size)) {
      case net::Io::done:
        connection_.count_received(size);
        take(buffer.first(size));
        break;
      case net::Io::wait:
        return;
      case net::Io::end:
        if (raw_ && exchange_ != nullptr && !request_ended_) return end_request();
        return connection_.end(is_idle() ? "finished" : "client_reset");
      case net::Io::broken:
        return connection_.end(is_idle() ? "finished" : "client_reset");
    }
  }
}

// Bytes that were kept come first.
void Http1Server::take(ByteSpan bytes) {
  std::vector<std::uint8_t> joined;
  if (!kept_.empty()) {
    joined = std::exchange(kept_, {});
    joined.insert(joined.end(), bytes.begin(), bytes.end());
    bytes = joined;
  }
  while (!bytes.empty() && wants_input()) {
    if (exchange_ != nullptr) {
      take_content(bytes);
    } else if (!take_head(bytes)) {
      break;
    }
  }
  if (!bytes.empty() && !connection_.is_over() && !(closes_ && exchange_ == nullptr)) {
    kept_.assign(bytes.begin(), bytes.end());
  }
}

// False: it is not whole yet, or there will be none.
bool Http1Server::take_head(ByteSpan& bytes) {
  // Empty lines before a request line are passed over (RFC 9112 section 2.2).
  while (bytes.size() >= 2 && bytes[0] == '\r' && bytes[1] == '\n') bytes = bytes.subspan(2);
  if (bytes.empty()) return false;
  const auto before = std::exchange(looked_at_, bytes.size());
  const auto& settings = connection_.desk().settings();
  const bool too_large = bytes.size() >= settings.ingress.max_head_bytes;
  connection_.expect_head();
  if (!too_large && !may_be_whole(bytes, before)) return false;
  const auto scheme = connection_.is_encrypted() ? wire::TargetScheme::http_or_https : wire::TargetScheme::http;
  auto result = wire::parse_request_head(bytes, scheme);
  if (auto* head = std::get_if<wire::RequestHead>(&result)) {
    looked_at_ = 0;
    const auto whole = bytes.first(head->wire_bytes);
    bytes = bytes.subspan(head->wire_bytes);
    if (whole.size() > settings.ingress.max_head_bytes) {
      refuse(431, "http_malformed", "head too large");
    } else {
      begin(*head, whole);
    }
    return true;
  }
  if (std::holds_alternative<wire::NeedMore>(result) && !too_large) return false;
  looked_at_ = 0;
  bytes = {};
  if (too_large || std::holds_alternative<wire::TooLarge>(result)) {
    refuse(431, "http_malformed", "head too large");
  } else if (const auto* bad = std::get_if<wire::Malformed>(&result)) {
    refuse(400, "http_malformed", bad->what);
  } else if (std::holds_alternative<wire::HostMissing>(result)) {
    refuse(400, "host_missing", "no Host field");
  } else if (std::holds_alternative<wire::HostMismatch>(result)) {
    refuse(400, "host_mismatch", "request target and Host name different hosts");
  } else {
    refuse(400, "http_malformed", "not a request line");
  }
  return true;
}

void Http1Server::begin(const wire::RequestHead& head, ByteSpan bytes) {
  exchange_ = &connection_.desk().take_exchange(connection_);
  auto& request = exchange_->request();
  minor_version_ = head.minor_version;
  request_ended_ = head.framing.kind == wire::Framing::Kind::none ||
                   (head.framing.kind == wire::Framing::Kind::length && head.framing.length == 0);
  body_.reset();
  if (!request_ended_) body_.emplace(head.framing);
  content_bytes_ = 0;
  closes_ = !head.keep_alive || connection_.is_draining();
  chunked_ = raw_ = paused_ = answer_begun_ = answer_ended_ = false;
  read_request(head, bytes, request);
  request.ends = request_ended_;
  request.is_encrypted = connection_.is_encrypted();
  is_head_request_ = request.is_head();
  connection_.on_request_begun();
  const auto limit = connection_.desk().settings().ingress.max_body_bytes;
  if (limit > 0 && head.framing.kind == wire::Framing::Kind::length && head.framing.length > limit) {
    return exchange_->refuse(*this, 413, "overloaded", "body too large");
  }
  exchange_->begin(*this);
}

void Http1Server::refuse(unsigned status, std::string_view reason, std::string_view detail) {
  exchange_ = &connection_.desk().take_exchange(connection_);
  exchange_->request().is_encrypted = connection_.is_encrypted();
  request_ended_ = false;  // where it would end is not known
  minor_version_ = 1;
  closes_ = true;
  chunked_ = raw_ = paused_ = answer_begun_ = answer_ended_ = is_head_request_ = false;
  body_.reset();
  connection_.on_request_begun();
  exchange_->refuse(*this, status, reason, detail);
}

void Http1Server::take_content(ByteSpan& bytes) {
  if (raw_) {
    const auto all = std::exchange(bytes, {});
    paused_ = !exchange_->on_request_content(all);
    return;
  }
  const auto content = body_->next(bytes);
  if (!content) {
    bytes = {};
    closes_ = true;
    return exchange_->on_client_error(400, "http_malformed", "chunk framing");
  }
  if (!content->empty()) {
    content_bytes_ += content->size();
    const auto limit = connection_.desk().settings().ingress.max_body_bytes;
    if (limit > 0 && content_bytes_ > limit) {
      bytes = {};
      closes_ = true;
      return exchange_->on_client_error(413, "overloaded", "body too large");
    }
    paused_ = !exchange_->on_request_content(*content);
  }
  if (exchange_ != nullptr && body_->done()) end_request();
}

void Http1Server::end_request() {
  request_ended_ = true;
  Fields trailers;
  if (body_) {
    for (const auto& [name, value] : body_->trailers()) {
      if (may_trail(name)) trailers.push_back({name, value});
    }
  }
  exchange_->on_request_end(trailers);
}

void Http1Server::on_room() {
  if (exchange_ != nullptr) exchange_->on_client_room();
}

void Http1Server::on_peer_end() {
  // What may still be wanted of it is read in its time. Otherwise one look tells whether the client is gone, or has
  // only sent all it had to send.
  if (exchange_ == nullptr || raw_ || wants_input() || paused_ || !kept_.empty()) return;
  const auto buffer = connection_.channel().buffers().reading();
  std::size_t size = 0;
  switch (connection_.channel().read(buffer, size)) {
    case net::Io::done:
      kept_.assign(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size));
      return;
    case net::Io::wait:
      return;
    case net::Io::end:
    case net::Io::broken:
      return connection_.end("client_reset");
  }
}

void Http1Server::on_gone(std::string_view why) {
  if (auto* exchange = std::exchange(exchange_, nullptr)) exchange->on_client_gone(why);
}

void Http1Server::on_late_head() {
  kept_.clear();
  refuse(408, "hello_timeout", "the head of the request took too long");
}

bool Http1Server::on_late_content() {
  if (exchange_ == nullptr || answer_begun_ || !awaits_client()) return false;
  closes_ = true;
  exchange_->on_client_error(408, "hello_timeout", "the content of the request took too long");
  return true;
}

// A request that is on its way already is answered, with "Connection: close".
void Http1Server::on_drain() {
  if (exchange_ != nullptr) closes_ = true;
}

void Http1Server::send_interim(unsigned status, const Fields& fields) {
  if (minor_version_ == 0) return;
  write_status(connection_.channel(), status);
  write_fields(connection_.channel(), fields);
  connection_.channel().write("\r\n");
  connection_.flush_soon();
}

void Http1Server::send_head(const Answer& answer) {
  auto& channel = connection_.channel();
  answer_begun_ = true;
  write_status(channel, answer.status);
  if (answer.status == 101) {
    raw_ = true;
    request_ended_ = false;
    closes_ = true;
    write_field(channel, "connection", "upgrade");
    write_field(channel, "upgrade", answer.upgrade);
    write_fields(channel, *answer.fields);
    channel.write("\r\n");
    return connection_.flush_soon();
  }
  write_fields(channel, *answer.fields);
  if (find_field(*answer.fields, "date") == nullptr) write_field(channel, "date", connection_.desk().date());
  const bool has_body = !is_head_request_ && answer.status != 204 && answer.status != 304;
  if (!answer.content_length.empty()) {
    write_field(channel, "content-length", answer.content_length);
  } else if (has_body && answer.ends) {
    write_field(channel, "content-length", "0");
  } else if (has_body && minor_version_ > 0) {
    chunked_ = true;
    write_field(channel, "transfer-encoding", "chunked");
  } else if (has_body) {
    closes_ = true;
  }
  // What is left of a request that is answered already would have to be read and thrown away.
  closes_ = closes_ || (answer.ends && !request_ended_) || connection_.is_draining();
  if (closes_) {
    write_field(channel, "connection", "close");
  } else if (minor_version_ == 0) {
    write_field(channel, "connection", "keep-alive");
  }
  channel.write("\r\n");
  answer_ended_ = answer.ends;
  connection_.flush_soon();
}

void Http1Server::send_content(ByteSpan content) {
  if (content.empty()) return;
  auto& channel = connection_.channel();
  if (chunked_) write_chunk(channel, content);
  if (!chunked_) channel.write(content);
  connection_.flush_soon();
}

void Http1Server::send_end(const Fields& trailers) {
  auto& channel = connection_.channel();
  if (chunked_) {
    channel.write("0\r\n");
    write_fields(channel, trailers);
    channel.write("\r\n");
  }
  answer_ended_ = true;
  connection_.flush_soon();
}

void Http1Server::abort() {
  closes_ = true;
  answer_ended_ = false;
  answer_begun_ = true;
}

bool Http1Server::is_full() const {
  return connection_.channel().is_full();
}

void Http1Server::read_more() {
  if (!std::exchange(paused_, false)) return;
  connection_.turn_soon();
}

void Http1Server::release() {
  exchange_ = nullptr;
  const bool cut_off = answer_begun_ && !answer_ended_;
  closes_ = closes_ || !request_ended_ || connection_.is_draining();
  paused_ = false;
  body_.reset();
  connection_.on_request_ended();
  if (cut_off) return connection_.end("upstream_reset");
  if (closes_) return connection_.finish();
  // What was sent behind this request has its turn after everything that leads here has returned.
  if (!kept_.empty()) connection_.turn_soon();
  if (connection_.channel().socket().is_open()) connection_.turn_soon();
}

}  // namespace sluice::ingress

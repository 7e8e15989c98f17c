#include "ingress/http2_server.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ingress/desk.h"
#include "ingress/http2_server_stream.h"
#include "wire/ascii.h"

namespace sluice::ingress {
namespace {

constexpr std::uint32_t stream_window_bytes = 256UL * 1024;
constexpr std::int32_t connection_window_bytes = 1024 * 1024;
constexpr std::size_t kept_streams = 16;
// How many WINDOW_UPDATEs a client may send: some to begin with, some for each request, and for each DATA that it got
// (see http2_server_callbacks.cpp).
constexpr std::size_t windows_at_first = 100;
constexpr std::size_t windows_per_stream = 10;

bool is_target(std::string_view method, std::string_view path) {
  const bool printable = std::all_of(path.begin(), path.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!printable || path.find('#') != std::string_view::npos) return false;
  return path.starts_with('/') || (path == "*" && method == "OPTIONS");
}

}  // namespace

Http2Server::Http2Server(ClientConnection& connection)
    : connection_(connection), resets_(200, 50), controls_(200, 20), spare_windows_(windows_at_first) {
  session_.reset(make_session());
  auto* made = session_.get();
  if (made == nullptr) {
    failed_ = true;
    return;
  }
  const auto& settings = connection_.desk().settings().ingress;
  const std::array<nghttp2_settings_entry, 5> entries = {
      {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.max_streams},
       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, stream_window_bytes},
       {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings.max_head_bytes},
       {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
       {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}}};
  ::nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  ::nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0, connection_window_bytes);
}

Http2Server::~Http2Server() = default;

Http2Server::Stream* Http2Server::find(std::int32_t id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

void Http2Server::open(std::int32_t id) {
  if (idle_.empty()) idle_.push_back(std::make_unique<Stream>(*this));
  auto stream = std::move(idle_.back());
  idle_.pop_back();
  stream->reset(id);
  streams_[id] = std::move(stream);
  last_ = id;
  spare_windows_ += windows_per_stream;
}

void Http2Server::close(Stream& stream) {
  if (auto* exchange = std::exchange(stream.exchange, nullptr)) {
    --exchanges_;
    exchange->on_client_gone("client_reset");
    if (exchanges_ == 0) connection_.on_request_ended();
  }
  const auto found = streams_.find(stream.id);
  auto kept = std::move(found->second);
  streams_.erase(found);
  kept->content.clear();
  if (idle_.size() < kept_streams) idle_.push_back(std::move(kept));
}

// A request's head, or its trailers.
void Http2Server::end_head(Stream& stream, bool ends) {
  const auto& lines = stream.head.finish();
  if (stream.head_ended) {
    if (stream.is_tunnel) return stream.end_request();
    stream.request_ended = true;
    Fields trailers;
    HopFields hop;
    read_end_to_end(lines, trailers, hop);
    std::erase_if(trailers, [](const Field& field) { return !may_trail(field.name); });
    if (stream.exchange != nullptr) stream.exchange->on_request_end(trailers);
    return;
  }
  stream.head_ended = true;
  stream.request_ended = ends;
  ++exchanges_;
  auto& exchange = connection_.desk().take_exchange(connection_);
  stream.exchange = &exchange;
  connection_.on_request_begun();
  auto& request = exchange.request();
  request.is_encrypted = connection_.is_encrypted();
  request.ends = ends;
  // All views lead into one text, which stays where it is from here on.
  auto& head = stream.head;
  auto& text = request.text;
  text.append(lines).append(head.method).append(head.authority).append(head.path);
  std::string_view rest = text;
  const auto next = [&](std::size_t size) {
    const auto part = rest.substr(0, size);
    rest.remove_prefix(size);
    return part;
  };
  request.lines = next(lines.size());
  request.method = next(head.method.size());
  request.authority = next(head.authority.size());
  request.target = next(head.path.size());
  if (!head.protocol.empty()) stream.begin_tunnel();
  const bool is_websocket = head.protocol == "websocket";
  const bool is_of_http = head.scheme == "https" || head.scheme == "http";
  read_end_to_end(request.lines, request.fields, request.hop);
  request.hop.upgrade = {};
  if (request.authority.empty()) request.authority = request.hop.host;
  const bool too_large = head.is_too_large();
  head.clear();  // for trailers
  if (too_large) return exchange.refuse(stream, 431, "http_malformed", "head too large");
  request.expects_continue = request.hop.expects_continue;
  const auto host = wire::parse_authority(request.authority);
  if (!host) return exchange.refuse(stream, 400, "host_missing", "no authority that is a host");
  request.host = *host;
  // Which of the two does not matter: there may be someone else's TLS before this, or none at all.
  if (!is_of_http) return exchange.refuse(stream, 400, "http_malformed", ":scheme");
  if (!request.hop.host.empty() && !same_name(request.hop.host, request.authority)) {
    return exchange.refuse(stream, 400, "host_mismatch", ":authority and host name different hosts");
  }
  if (stream.is_tunnel && !is_websocket) return exchange.refuse(stream, 501, "http_malformed", ":protocol");
  if (is_websocket) request.ask_for_websocket();
  if (!is_target(request.method, request.target)) return exchange.refuse(stream, 400, "http_malformed", ":path");
  exchange.begin(stream);
}

int Http2Server::end_by(std::uint32_t error) {
  ::nghttp2_session_terminate_session(session_.get(), error);
  return 0;
}

// Nothing but what was on its way to a stream that this side has reset comes on one that is closed (RFC 9113 section
// 5.1).
bool Http2Server::is_closed(std::int32_t id) const {
  return id % 2 == 1 && id <= last_ && id > reset_until_ && !streams_.contains(id);
}

bool Http2Server::takes_window() {
  if (spare_windows_ == 0) return false;
  --spare_windows_;
  return true;
}

void Http2Server::on_input() {
  if (std::exchange(tunnel_begun_, false)) {
    for (const auto& [id, stream] : streams_) stream->release_early();
  }
  while (!failed_ && !connection_.is_over() && !connection_.channel().is_full() &&
         ::nghttp2_session_want_read(session_.get()) != 0) {
    const auto buffer = connection_.channel().buffers().reading();
    std::size_t size = 0;
    switch (connection_.channel().read(buffer, size)) {
      case net::Io::done: {
        connection_.count_received(size);
        const auto taken = ::nghttp2_session_mem_recv(session_.get(), buffer.data(), size);
        if (taken < 0) give_up(static_cast<int>(taken));
        connection_.flush_soon();
        break;
      }
      case net::Io::wait:
        return end_if_done();
      case net::Io::end:
      case net::Io::broken:
        return connection_.end(is_idle() ? "finished" : "client_reset");
    }
  }
  end_if_done();
}

// nghttp2 reads no further, and has told the client nothing.
void Http2Server::give_up(int error) {
  failed_ = true;
  const bool too_much = error == NGHTTP2_ERR_FLOODED || error == NGHTTP2_ERR_CALLBACK_FAILURE ||
                        error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
  end_by(too_much ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
}

bool Http2Server::produce() {
  if (session_ && !send_frames(*session_, connection_.channel())) failed_ = true;
  return connection_.channel().queued() > 0;
}

void Http2Server::on_room() {
  for (const auto& [id, stream] : streams_) {
    if (stream->exchange != nullptr && !stream->is_full()) stream->exchange->on_client_room();
  }
}

// Nothing is left to be said on either side, or nothing can be.
void Http2Server::end_if_done() {
  if (connection_.is_over()) return;
  const bool over =
      failed_ || !session_ ||
      (::nghttp2_session_want_read(session_.get()) == 0 && ::nghttp2_session_want_write(session_.get()) == 0) ||
      (last_told_ && streams_.empty());
  if (!over) return;
  if (session_) produce();
  connection_.finish();
  on_gone("client_reset");
}

void Http2Server::on_gone(std::string_view why) {
  for (auto& [id, stream] : streams_) {
    if (auto* exchange = std::exchange(stream->exchange, nullptr)) exchange->on_client_gone(why);
  }
  exchanges_ = 0;
}

// RFC 9113 section 6.8: first that this will end, and then, when the client has answered a PING behind that and so
// knows it, which stream was the last.
void Http2Server::on_drain() {
  if (!session_ || std::exchange(draining_, true)) return;
  ::nghttp2_submit_shutdown_notice(session_.get());
  connection_.flush_soon();
}

void Http2Server::on_idle() {
  if (!session_) return connection_.finish();
  draining_ = true;
  end_streams();
}

void Http2Server::end_streams() {
  if (std::exchange(last_told_, true)) return connection_.flush_soon();
  const auto last = ::nghttp2_session_get_last_proc_stream_id(session_.get());
  ::nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, nullptr, 0);
  connection_.flush_soon();
}

}  // namespace sluice::ingress

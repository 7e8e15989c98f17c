#include "ingress/http2_server.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ingress/desk.h"
#include "wire/ascii.h"

namespace sluice::ingress {
namespace {

constexpr std::uint32_t stream_window_bytes = 256UL * 1024;
constexpr std::int32_t connection_window_bytes = 1024 * 1024;
constexpr std::size_t hopeless_heads = 4;  // a head of so many times the limit ends the connection
constexpr std::size_t kept_streams = 16;
// How many WINDOW_UPDATEs a client may send: some to begin with, some for each request, and for each DATA that it got.
constexpr std::size_t windows_at_first = 100;
constexpr std::size_t windows_per_stream = 10;
constexpr std::size_t windows_per_data = 10;

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

bool is_target(std::string_view method, std::string_view path) {
  const bool printable = std::all_of(path.begin(), path.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!printable || path.find('#') != std::string_view::npos) return false;
  return path.starts_with('/') || (path == "*" && method == "OPTIONS");
}

}  // namespace

// One request.
class Http2Server::Stream final : public ClientStream {
 public:
  explicit Stream(Http2Server& server)
      : server_(server),
        head(server.connection_.desk().settings().ingress.max_head_bytes),
        content(server.connection_.channel().buffers()) {}

  void reset(std::int32_t its_id) {
    id = its_id;
    exchange = nullptr;
    head.clear();
    content.clear();
    unconsumed_ = 0;
    received = 0;
    early_.clear();
    is_tunnel = holds_ = is_through_ = false;
    request_ended = head_ended = paused_ = answer_begun_ = answer_ended_ = false;
  }

  // ClientStream
  void send_interim(unsigned status, const Fields& fields) override {
    auto& nv = begin_fields(status, fields);
    ::nghttp2_submit_headers(session(), NGHTTP2_FLAG_NONE, id, nullptr, nv.data(), nv.size(), nullptr);
    server_.connection_.flush_soon();
  }

  void send_head(const Answer& answer) override {
    answer_begun_ = true;
    // What says that the bytes are the tunnel's now is 101 there and 2xx here; a server that answers 2xx by itself has
    // understood something else.
    if (is_tunnel ? answer.status / 100 == 2 : answer.status == 101) return abort();
    is_through_ = is_tunnel && answer.status == 101;
    auto& nv = begin_fields(is_through_ ? 200 : answer.status, *answer.fields);
    if (!answer.content_length.empty()) nv.add("content-length", answer.content_length);
    if (find_field(*answer.fields, "date") == nullptr) nv.add("date", server_.connection_.desk().date());
    nghttp2_data_provider provider{{.ptr = &content}, read_content};
    answer_ended_ = answer.ends;
    ::nghttp2_submit_response(session(), id, nv.data(), nv.size(), answer.ends ? nullptr : &provider);
    server_.connection_.flush_soon();
    // What was held has a turn of its own: the exchange is at telling this.
    server_.tunnel_begun_ = server_.tunnel_begun_ || is_through_;
  }

  void send_content(ByteSpan bytes) override {
    content.add(bytes);
    go_on();
  }

  void send_end(const Fields& trailers) override {
    answer_ended_ = true;
    content.end(trailers);
    go_on();
  }

  void abort() override {
    answer_begun_ = true;
    answer_ended_ = false;
    ::nghttp2_submit_rst_stream(session(), NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
    server_.connection_.flush_soon();
  }

  bool is_full() const override { return content.is_full(); }

  void read_more() override {
    if (!std::exchange(paused_, false)) return;
    consume(std::exchange(unconsumed_, 0));
    server_.connection_.flush_soon();
  }

  void release() override {
    exchange = nullptr;
    --server_.exchanges_;
    consume(std::exchange(unconsumed_, 0));
    paused_ = false;
    if (server_.exchanges_ == 0) server_.connection_.on_request_ended();
    server_.connection_.flush_soon();
  }

  // What came of the request's content.
  void take(ByteSpan bytes) {
    ::nghttp2_session_consume_connection(session(), bytes.size());
    if (exchange == nullptr) return consume(bytes.size());
    if (holds_) return hold(bytes);
    received += bytes.size();
    const auto limit = server_.connection_.desk().settings().ingress.max_body_bytes;
    if (limit > 0 && received > limit && !is_tunnel) {
      exchange->on_client_error(413, "overloaded", "body too large");
      return consume(bytes.size());
    }
    pass_on(bytes);
  }

  // Who asks for a tunnel is to wait for it; what comes before would be a request of its own to a server that makes
  // none of it. The window bounds it.
  void hold(ByteSpan bytes) { early_.insert(early_.end(), bytes.begin(), bytes.end()); }

  void release_early() {
    if (!holds_ || !is_through_ || exchange == nullptr) return;
    holds_ = false;
    const auto bytes = std::exchange(early_, {});
    if (!bytes.empty()) pass_on(bytes);
    if (request_ended && exchange != nullptr) exchange->on_request_end({});
  }

  void end_request() {
    request_ended = true;
    if (exchange != nullptr && !holds_) exchange->on_request_end({});
  }

  // Extended CONNECT (RFC 8441).
  void begin_tunnel() { is_tunnel = holds_ = true; }

  static ssize_t read_content(nghttp2_session* session, std::int32_t id, std::uint8_t*, std::size_t length,
                              std::uint32_t* flags, nghttp2_data_source* source, void*) {
    return static_cast<Http2Content*>(source->ptr)->read(session, id, length, *flags);
  }

 private:
  Http2Server& server_;

 public:
  std::int32_t id = 0;
  Exchange* exchange = nullptr;
  Http2Head head;
  Http2Content content;  // of the answer
  std::uint64_t received = 0;
  bool head_ended = false;
  bool request_ended = false;
  bool is_tunnel = false;

 private:
  nghttp2_session* session() const { return server_.session_.get(); }

  Http2Fields& begin_fields(unsigned status, const Fields& fields) {
    digits_ = {static_cast<char>('0' + status / 100 % 10), static_cast<char>('0' + status / 10 % 10),
               static_cast<char>('0' + status % 10)};
    auto& nv = server_.fields_;
    nv.clear();
    nv.add(":status", {digits_.data(), digits_.size()});
    nv.add(fields);
    return nv;
  }

  void go_on() {
    if (content.take_deferred()) ::nghttp2_session_resume_data(session(), id);
    server_.connection_.flush_soon();
  }

  void pass_on(ByteSpan bytes) {
    paused_ = !exchange->on_request_content(bytes);
    if (paused_ && exchange != nullptr) {
      unconsumed_ += bytes.size();
    } else {
      consume(bytes.size());
    }
  }

  void consume(std::size_t size) {
    if (size > 0) ::nghttp2_session_consume_stream(session(), id, size);
  }

  std::size_t unconsumed_ = 0;
  std::vector<std::uint8_t> early_;  // of a tunnel, before it is there
  std::array<char, 3> digits_{};
  bool holds_ = false;       // early_, and the end behind it
  bool is_through_ = false;  // the tunnel is there
  bool paused_ = false;
  bool answer_begun_ = false;
  bool answer_ended_ = false;
};

struct Http2Server::Callbacks {
  static Http2Server& self(void* user) { return *static_cast<Http2Server*>(user); }

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) self(user).open(frame->hd.stream_id);
    return 0;
  }

  // Of every frame of a known type, before nghttp2 makes anything of it.
  static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) {
    auto& server = self(user);
    switch (head->type) {
      case NGHTTP2_DATA:
      case NGHTTP2_HEADERS:
        return server.is_closed(head->stream_id) ? server.end_by(NGHTTP2_STREAM_CLOSED) : 0;
      case NGHTTP2_RST_STREAM:
      case NGHTTP2_CONTINUATION:
        return 0;
      case NGHTTP2_WINDOW_UPDATE:
        return server.takes_window() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
      case NGHTTP2_PRIORITY:
        if (head->stream_id == 0) return server.end_by(NGHTTP2_PROTOCOL_ERROR);
        [[fallthrough]];
      default:
        return server.controls_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
    }
  }

  // What is wrong with a stream alone: it is reset, and what is on its way on it is passed over.
  static int on_invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
    auto& server = self(user);
    server.reset_until_ = std::max(server.reset_until_, frame->hd.stream_id);
    return server.resets_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
                       const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* user) {
    auto* stream = self(user).find(frame->hd.stream_id);
    if (stream == nullptr || stream->head.add(text_of(name, name_bytes), text_of(value, value_bytes))) return 0;
    // What is too large is answered with 431 as long as reading it costs no more than others do.
    const auto limit = self(user).connection_.desk().settings().ingress.max_head_bytes;
    return stream->head.bytes() / hopeless_heads > limit ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }

  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t,
                               const std::uint8_t*, std::size_t, std::uint8_t, void*) {
    // Never passed over in silence: another parser may make something of it.
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto& server = self(user);
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA: {
        auto* stream = server.find(frame->hd.stream_id);
        if (stream == nullptr) return 0;
        if (frame->hd.type == NGHTTP2_HEADERS) {
          server.end_head(*stream, ends);
        } else if (ends) {
          stream->end_request();
        } else if (frame->hd.length == 0) {
          return server.controls_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
        }
        return 0;
      }
      case NGHTTP2_PING:
        if (server.draining_ && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) server.end_streams();
        return 0;
      case NGHTTP2_RST_STREAM:
        return server.resets_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
      default:
        return 0;
    }
  }

  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                     std::size_t size, void* user) {
    if (auto* stream = self(user).find(id)) {
      stream->take({bytes, size});
    } else {
      ::nghttp2_session_consume(session, id, size);
    }
    return 0;
  }

  static int on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    auto& server = self(user);
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
      server.reset_until_ = std::max(server.reset_until_, frame->hd.stream_id);
    } else if (frame->hd.type == NGHTTP2_DATA) {
      server.spare_windows_ += windows_per_data;
    } else if (frame->hd.type == NGHTTP2_GOAWAY && server.draining_ && !server.last_told_) {
      // Not before: nghttp2 lets a PING overtake everything else.
      ::nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, nullptr);
    }
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!ends || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
    const auto* stream = server.find(frame->hd.stream_id);
    // RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
    if (stream != nullptr && !stream->request_ended) {
      ::nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t length,
                       nghttp2_data_source* source, void* user) {
    static_cast<Http2Content*>(source->ptr)->send(self(user).connection_.channel(), head, length);
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    if (auto* stream = self(user).find(id)) self(user).close(*stream);
    return 0;
  }

  // Shared by all sessions.
  static const nghttp2_session_callbacks& get() {
    static const auto callbacks = [] {
      nghttp2_session_callbacks* made = nullptr;
      ::nghttp2_session_callbacks_new(&made);
      ::nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin_headers);
      ::nghttp2_session_callbacks_set_on_begin_frame_callback(made, on_begin_frame);
      ::nghttp2_session_callbacks_set_on_header_callback(made, on_header);
      ::nghttp2_session_callbacks_set_on_invalid_header_callback(made, on_invalid_header);
      ::nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, on_invalid_frame);
      ::nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame);
      ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data);
      ::nghttp2_session_callbacks_set_on_frame_send_callback(made, on_frame_sent);
      ::nghttp2_session_callbacks_set_send_data_callback(made, send_data);
      ::nghttp2_session_callbacks_set_on_stream_close_callback(made, on_stream_close);
      return made;
    }();
    return *callbacks;
  }

  static const nghttp2_option& options() {
    static const auto* options = [] {
      nghttp2_option* made = nullptr;
      ::nghttp2_option_new(&made);
      ::nghttp2_option_set_no_auto_window_update(made, 1);
      ::nghttp2_option_set_no_closed_streams(made, 1);
      ::nghttp2_option_set_max_continuations(made, 8);
      ::nghttp2_option_set_max_settings(made, 32);
      ::nghttp2_option_set_max_outbound_ack(made, 100);
      return made;
    }();
    return *options;
  }
};

Http2Server::Http2Server(ClientConnection& connection)
    : connection_(connection), resets_(200, 50), controls_(200, 20), spare_windows_(windows_at_first) {
  nghttp2_session* made = nullptr;
  if (::nghttp2_session_server_new2(&made, &Callbacks::get(), this, &Callbacks::options()) != 0) {
    failed_ = true;
    return;
  }
  session_.reset(made);
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

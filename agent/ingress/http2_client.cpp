#include "ingress/http2_client.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ingress/cluster.h"
#include "ingress/desk.h"
#include "wire/http_head.h"

namespace sluice::ingress {
namespace {

constexpr std::uint32_t stream_window_bytes = 256UL * 1024;
constexpr std::int32_t connection_window_bytes = 4 * 1024 * 1024;
constexpr std::size_t max_streams = 1000;

}  // namespace

// One request.
class Http2Client::Stream final : public ServerStream {
 public:
  explicit Stream(Http2Client& client)
      : client_(client), head(wire::max_head_bytes), content(client.channel().buffers()) {}

  void serve(AnswerTaker& its_taker) {
    taker = &its_taker;
    id = 0;
    head.clear();
    content.clear();
    head_ended = answer_ended = request_ended_ = false;
    unconsumed_ = 0;
    paused_ = false;
  }

  // ServerStream
  void send_request(const OutgoingRequest& request) override {
    auto& nv = client_.fields_;
    nv.clear();
    nv.add(":method", request.method);
    nv.add(":scheme", request.scheme);
    nv.add(":authority", request.authority);
    nv.add(":path", request.target);
    nv.add(*request.fields);
    if (request.trailers) nv.add("te", "trailers");
    if (!request.content_length.empty()) nv.add("content-length", request.content_length);
    const auto provider = content.provider();
    id = ::nghttp2_submit_request(session(), nullptr, nv.data(), nv.size(), request.ends ? nullptr : &provider, this);
    request_ended_ = request.ends;
    if (id > 0) {
      client_.by_id_[id] = this;
    } else {
      client_.retire();
    }
    client_.flush_soon();
  }

  void send_content(ByteSpan bytes) override {
    content.add(bytes);
    go_on();
  }

  void send_end(const Fields& trailers) override {
    request_ended_ = true;
    content.end(trailers);
    go_on();
  }

  bool is_full() const override { return content.is_full(); }

  void read_more() override {
    if (!std::exchange(paused_, false)) return;
    consume(std::exchange(unconsumed_, 0));
    client_.flush_soon();
  }

  void release() override {
    taker = nullptr;
    client_.place_->count_request(-1);
    const bool open = id > 0 && client_.by_id_.contains(id);
    if (!open || client_.is_over()) return client_.forget(*this);
    consume(std::exchange(unconsumed_, 0));
    // Both sides have said all: it closes by itself.
    if (answer_ended && request_ended_) return;
    ::nghttp2_submit_rst_stream(session(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    client_.flush_soon();
  }

  std::string_view address() const override { return client_.place_->address_text; }

  void take(ByteSpan bytes) {
    ::nghttp2_session_consume_connection(session(), bytes.size());
    if (taker != nullptr) paused_ = !taker->on_answer_content(bytes);
    if (taker != nullptr && paused_) {
      unconsumed_ += bytes.size();
    } else {
      consume(bytes.size());
    }
  }

 private:
  Http2Client& client_;

 public:
  std::int32_t id = 0;           // 0: not sent
  AnswerTaker* taker = nullptr;  // null: released
  Http2Head head;
  Http2Content content;  // of the request
  bool head_ended = false;
  bool answer_ended = false;

 private:
  nghttp2_session* session() const { return client_.session_.get(); }

  void go_on() {
    if (id > 0 && content.take_deferred()) ::nghttp2_session_resume_data(session(), id);
    client_.flush_soon();
  }

  void consume(std::size_t size) {
    if (size > 0) ::nghttp2_session_consume_stream(session(), id, size);
  }

  std::size_t unconsumed_ = 0;
  bool request_ended_ = false;
  bool paused_ = false;
};

struct Http2Client::Callbacks {
  static Http2Client& self(void* user) { return *static_cast<Http2Client*>(user); }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
                       const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* user) {
    auto* stream = self(user).find(frame->hd.stream_id);
    if (stream == nullptr) return 0;
    const bool added = stream->head.add(text_of(name, name_bytes), text_of(value, value_bytes));
    return added ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t,
                               const std::uint8_t*, std::size_t, std::uint8_t, void*) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto& client = self(user);
    if (frame->hd.type == NGHTTP2_GOAWAY) client.retire();
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    auto* stream = client.find(frame->hd.stream_id);
    if (stream == nullptr) return 0;
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
      client.end_head(*stream, ends);
    } else if (ends) {
      stream->answer_ended = true;
      if (stream->taker != nullptr) stream->taker->on_answer_end({});
    }
    return 0;
  }

  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                     std::size_t size, void* user) {
    self(user).note_progress();
    if (auto* stream = self(user).find(id)) {
      stream->take({bytes, size});
    } else {
      ::nghttp2_session_consume(session, id, size);
    }
    return 0;
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t length,
                       nghttp2_data_source* source, void* user) {
    static_cast<Http2Content*>(source->ptr)->send(self(user).channel(), head, length);
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user) {
    if (auto* stream = self(user).find(id)) self(user).close(*stream, error);
    return 0;
  }

  // Shared by all sessions.
  static const nghttp2_session_callbacks& get() {
    static const auto* callbacks = [] {
      nghttp2_session_callbacks* made = nullptr;
      ::nghttp2_session_callbacks_new(&made);
      ::nghttp2_session_callbacks_set_on_header_callback(made, on_header);
      ::nghttp2_session_callbacks_set_on_invalid_header_callback(made, on_invalid_header);
      ::nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame);
      ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data);
      ::nghttp2_session_callbacks_set_send_data_callback(made, send_data);
      ::nghttp2_session_callbacks_set_on_stream_close_callback(made, on_stream_close);
      return made;
    }();
    return *callbacks;
  }

  static const nghttp2_option& options() {
    static const auto* options = [] {
      auto* made = make_http2_options();
      ::nghttp2_option_set_peer_max_concurrent_streams(made, 100);
      return made;
    }();
    return *options;
  }
};

Http2Client::Http2Client(Desk& desk, std::shared_ptr<Place> place, std::unique_ptr<net::Channel> channel)
    : ServerConnection(desk, std::move(place), std::move(channel)) {
  nghttp2_session* made = nullptr;
  if (::nghttp2_session_client_new2(&made, &Callbacks::get(), this, &Callbacks::options()) != 0) {
    throw std::bad_alloc();
  }
  session_.reset(made);
  const std::array<nghttp2_settings_entry, 3> entries = {
      {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, stream_window_bytes},
       {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, wire::max_head_bytes}}};
  ::nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  ::nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0, connection_window_bytes);
}

Http2Client::~Http2Client() {
  if (place_->shared == this) place_->shared = nullptr;
}

bool Http2Client::has_room() const {
  if (retiring_ || is_over() || ::nghttp2_session_check_request_allowed(session_.get()) == 0) return false;
  const auto limit = ::nghttp2_session_get_remote_settings(session_.get(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  return streams_.size() < std::min<std::size_t>(limit, max_streams);
}

ServerStream& Http2Client::open(AnswerTaker& taker) {
  if (idle_.empty()) idle_.push_back(std::make_unique<Stream>(*this));
  auto stream = std::move(idle_.back());
  idle_.pop_back();
  stream->serve(taker);
  place_->count_request(1);
  wake();
  auto& opened = *streams_.emplace_back(std::move(stream));
  // Its last one: it ends when all are over.
  if (++uses_ == place_->limits.requests) retire();
  return opened;
}

void Http2Client::retire() {
  retiring_ = true;
  if (place_->shared == this) place_->shared = nullptr;
  flush_soon();
}

Http2Client::Stream* Http2Client::find(std::int32_t id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void Http2Client::end_head(Stream& stream, bool ends) {
  note_progress();
  Fields fields;
  HopFields hop;
  read_end_to_end(stream.head.finish(), fields, hop);
  const auto status = stream.head.status;
  if (ends) stream.answer_ended = true;
  if (stream.taker == nullptr) return stream.head.clear();
  if (stream.head_ended) {
    std::erase_if(fields, [](const Field& field) { return !may_trail(field.name); });
    stream.taker->on_answer_end(fields);
  } else if (status < 200) {
    stream.taker->on_interim(status, fields);
  } else {
    stream.head_ended = true;
    stream.taker->on_answer({status, &fields, hop.content_length, {}, ends});
  }
  stream.head.clear();
}

void Http2Client::close(Stream& stream, std::uint32_t error) {
  by_id_.erase(stream.id);
  auto* taker = stream.taker;
  if (taker == nullptr) return forget(stream);
  if (stream.answer_ended) return;
  const bool refused = error == NGHTTP2_REFUSED_STREAM;
  taker->on_failure({refused ? Failure::Kind::refused : Failure::Kind::reset,
                     place_->address_text + ": the stream was " + (refused ? "refused" : "reset")});
}

// Neither open nor held.
void Http2Client::forget(Stream& stream) {
  const auto found =
      std::find_if(streams_.begin(), streams_.end(), [&](const auto& one) { return one.get() == &stream; });
  auto kept = std::move(*found);
  std::swap(*found, streams_.back());
  streams_.pop_back();
  kept->content.clear();
  idle_.push_back(std::move(kept));
  if (!streams_.empty() || is_over()) return;
  if (retiring_) return flush_soon();
  rest(place_->limits.rest);
}

void Http2Client::on_input() {
  while (!is_over() && !channel().is_full()) {
    const auto buffer = channel().buffers().reading();
    std::size_t size = 0;
    switch (channel().read(buffer, size)) {
      case net::Io::done: {
        const auto taken = ::nghttp2_session_mem_recv(session_.get(), buffer.data(), size);
        if (taken < 0) return fail(Failure::Kind::reset, place_->address_text + ": its HTTP/2 is wrong");
        flush_soon();
        break;
      }
      case net::Io::wait:
        return end_if_done();
      case net::Io::end:
      case net::Io::broken:
        return fail(Failure::Kind::reset, place_->address_text + ": the connection ended");
    }
  }
}

void Http2Client::end_if_done() {
  if (retiring_ && streams_.empty() && !is_over()) leave();
}

bool Http2Client::produce() {
  if (!send_frames(*session_, channel())) fail(Failure::Kind::reset, place_->address_text + ": its HTTP/2 is wrong");
  return !is_over() && channel().queued() > 0;
}

void Http2Client::on_room() {
  for (std::size_t index = 0; index < streams_.size(); ++index) {
    auto& stream = *streams_[index];
    if (stream.taker != nullptr && !stream.is_full()) stream.taker->on_server_room();
  }
}

void Http2Client::on_broken(const Failure& failure) {
  if (place_->shared == this) place_->shared = nullptr;
  by_id_.clear();
  std::vector<AnswerTaker*> takers;
  for (const auto& stream : streams_) {
    if (stream->taker != nullptr) takers.push_back(stream->taker);
  }
  // Each releases its stream by that.
  for (auto* taker : takers) taker->on_failure(failure);
  desk_.dismiss(*this);
}

bool Http2Client::is_due() const {
  return channel().queued() > 0;
}

}  // namespace sluice::ingress

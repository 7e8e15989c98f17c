#include "ingress/http1_client.h"

#include <utility>

#include "ingress/cluster.h"
#include "ingress/desk.h"
#include "ingress/http1_text.h"

namespace sluice::ingress {
Http1Client::~Http1Client() {
  place_->forget(*this);
}

void Http1Client::serve(AnswerTaker& taker) {
  taker_ = &taker;
  request_ended_ = answer_begun_ = head_taken_ = answer_ended_ = false;
  chunked_ = keeps_alive_ = until_close_ = raw_ = paused_ = false;
  body_.reset();
  ++uses_;
  place_->count_request(1);
  wake();
}

std::string_view Http1Client::address() const {
  return place_->address_text;
}

void Http1Client::send_request(const OutgoingRequest& request) {
  auto& out = channel();
  method_ = request.method;
  out.write(request.method);
  out.write(" ");
  out.write(request.target);
  out.write(" HTTP/1.1\r\n");
  write_field(out, "host", request.authority);
  write_fields(out, *request.fields);
  if (request.trailers) write_field(out, "te", "trailers");
  wants_upgrade_ = !request.upgrade.empty();
  if (wants_upgrade_) {
    write_field(out, "connection", "upgrade");
    write_field(out, "upgrade", request.upgrade);
  } else if (request.trailers) {
    write_field(out, "connection", "te");
  }
  if (!request.content_length.empty()) {
    write_field(out, "content-length", request.content_length);
  } else if (!request.ends) {
    chunked_ = true;
    write_field(out, "transfer-encoding", "chunked");
  }
  out.write("\r\n");
  request_ended_ = request.ends;
  flush_soon();
}

void Http1Client::send_content(ByteSpan content) {
  if (is_over() || content.empty()) return;
  if (chunked_ && !raw_) {
    write_chunk(channel(), content);
  } else {
    channel().write(content);
  }
  flush_soon();
}

void Http1Client::send_end(const Fields& trailers) {
  if (is_over()) return;
  request_ended_ = true;
  if (raw_) {
    // The client has said all it has to say: so does this side, behind what is queued.
    if (channel().queued() == 0) channel().finish();
    return;
  }
  if (!chunked_) return;
  channel().write("0\r\n");
  write_fields(channel(), trailers);
  channel().write("\r\n");
  flush_soon();
}

void Http1Client::read_more() {
  if (!std::exchange(paused_, false) || is_over()) return;
  flush_soon();
}

void Http1Client::on_input() {
  if (!kept_.empty() && !paused_) take({});
  while (!is_over() && !paused_) {
    const auto buffer = channel().buffers().reading();
    std::size_t size = 0;
    switch (channel().read(buffer, size)) {
      case net::Io::done:
        note_progress();
        take(buffer.first(size));
        break;
      case net::Io::wait:
        return;
      case net::Io::end:
        return on_end();
      case net::Io::broken:
        return fail(answer_begun_ || uses_ < 2 ? Failure::Kind::reset : Failure::Kind::stale,
                    place_->address_text + ": the connection broke");
    }
  }
}

void Http1Client::on_end() {
  if (taker_ != nullptr && head_taken_ && (until_close_ || raw_) && !answer_ended_) {
    close();
    return end_answer();
  }
  fail(answer_begun_ || uses_ < 2 ? Failure::Kind::reset : Failure::Kind::stale,
       place_->address_text + (answer_begun_ ? ": ended within its answer" : ": ended without an answer"));
}

void Http1Client::take(ByteSpan bytes) {
  // Nobody asked for anything.
  if (taker_ == nullptr) return fail(Failure::Kind::reset, "");
  answer_begun_ = true;
  std::vector<std::uint8_t> joined;
  if (!kept_.empty()) {
    joined = std::exchange(kept_, {});
    joined.insert(joined.end(), bytes.begin(), bytes.end());
    bytes = joined;
  }
  while (!bytes.empty() && !is_over() && taker_ != nullptr && !answer_ended_ && !paused_) {
    if (head_taken_) {
      take_content(bytes);
    } else if (!take_head(bytes)) {
      break;
    }
  }
  if (is_over() || bytes.empty()) return;
  if (answer_ended_) {
    // More than the answer: whatever it is, it belongs to no request.
    keeps_alive_ = false;
    if (taker_ == nullptr) fail(Failure::Kind::reset, "");
    return;
  }
  kept_.assign(bytes.begin(), bytes.end());
}

bool Http1Client::take_head(ByteSpan& bytes) {
  auto result = wire::parse_response_head(bytes, method_);
  if (std::holds_alternative<wire::NeedMore>(result)) return false;
  const auto* head = std::get_if<wire::ResponseHead>(&result);
  if (head == nullptr) {
    fail(Failure::Kind::reset, place_->address_text + ": its answer is no HTTP");
    return true;
  }
  Fields fields;
  HopFields hop;
  read_end_to_end(field_lines(bytes.first(head->wire_bytes)), fields, hop);
  bytes = bytes.subspan(head->wire_bytes);
  if (head->status < 200 && head->status != 101) {
    taker_->on_interim(head->status, fields);
    return true;
  }
  if (head->status == 101 && (!wants_upgrade_ || hop.upgrade.empty())) {
    fail(Failure::Kind::reset, place_->address_text + ": 101 without being asked");
    return true;
  }
  head_taken_ = true;
  raw_ = head->status == 101;
  if (raw_) request_ended_ = false;
  keeps_alive_ = head->keep_alive && !raw_;
  until_close_ = head->framing.kind == wire::Framing::Kind::until_close;
  const bool ends = !raw_ && (head->framing.kind == wire::Framing::Kind::none ||
                              (head->framing.kind == wire::Framing::Kind::length && head->framing.length == 0));
  answer_ended_ = ends;
  if (!raw_ && !ends && !until_close_) body_.emplace(head->framing);
  Answer answer{head->status, &fields, hop.content_length, hop.upgrade, ends};
  taker_->on_answer(answer);
  return true;
}

void Http1Client::take_content(ByteSpan& bytes) {
  if (raw_ || until_close_) {
    const auto all = std::exchange(bytes, {});
    paused_ = !taker_->on_answer_content(all);
    return;
  }
  const auto content = body_->next(bytes);
  if (!content) return fail(Failure::Kind::reset, place_->address_text + ": chunk framing");
  const bool done = body_->done();
  if (!content->empty()) {
    const bool more = taker_->on_answer_content(*content);
    if (taker_ == nullptr) return;
    paused_ = !more && !done;
  }
  if (done) {
    answer_ended_ = true;
    end_answer();
  }
}

void Http1Client::end_answer() {
  answer_ended_ = true;
  Fields trailers;
  if (body_) {
    for (const auto& [name, value] : body_->trailers()) {
      if (may_trail(name)) trailers.push_back({name, value});
    }
  }
  taker_->on_answer_end(trailers);
}

void Http1Client::release() {
  if (taker_ == nullptr) return;
  taker_ = nullptr;
  place_->count_request(-1);
  paused_ = false;
  const auto most = place_->limits.requests;
  const bool reusable = is_open() && answer_ended_ && keeps_alive_ && request_ended_ && kept_.empty() &&
                        !place_->gone && (most == 0 || uses_ < most);
  if (reusable && place_->keep(*this)) return rest(place_->limits.rest);
  leave();
}

void Http1Client::on_room() {
  if (raw_ && request_ended_ && channel().queued() == 0) channel().finish();
  if (taker_ != nullptr) taker_->on_server_room();
}

void Http1Client::on_broken(const Failure& failure) {
  if (taker_ != nullptr) return taker_->on_failure(failure);
  place_->forget(*this);
  desk_.dismiss(*this);
}

void Http1Client::on_idle_for_long() {
  place_->forget(*this);
  leave();
}

bool Http1Client::is_due() const {
  // How long an answer may take, or be silent, is the route's and the client's business.
  return channel().queued() > 0;
}

}  // namespace sluice::ingress

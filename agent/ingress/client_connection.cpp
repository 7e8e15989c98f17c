#include "ingress/client_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cerrno>
#include <utility>

#include "base/clock.h"
#include "ingress/desk.h"
#include "ingress/http1_server.h"
#include "ingress/http2_server.h"
#include "ingress/relayed_call.h"
#include "relay/refusal.h"

namespace sluice::ingress {
namespace {

constexpr net::Milliseconds linger_limit{1000};
// A client that does not know yet that this process ends may be about to send a request.
constexpr net::Milliseconds drain_grace{1000};
constexpr int linger_reads = 16;

// Parameters, not members: the connection is gone then.
net::Task<void> relay(Desk& desk, std::shared_ptr<const Plan> plan, const IngressListener& listener,
                      const IngressServer& server, std::string sni, net::Socket socket) {
  auto call = std::make_unique<RelayedCall>(desk, std::move(plan), listener, server, std::move(sni), std::move(socket));
  co_await call->serve();
  serving::Call::relay(std::move(call));
}

}  // namespace

void ClientConnection::open(Desk& desk, std::shared_ptr<const Plan> plan, const IngressListener& listener,
                            net::Socket socket) {
  std::unique_ptr<ClientConnection> made(new ClientConnection(desk, std::move(plan), listener, std::move(socket)));
  auto admitted = desk.worker().live().admit(*made, made->started_ns_);
  if (std::holds_alternative<std::string_view>(admitted)) return desk.note_refusal(Reason::overloaded);
  made->place_.emplace(std::get<serving::LiveTable::Place>(std::move(admitted)));
  if (!made->place_->claim(made->peer_.address, made->started_ns_).empty()) {
    return desk.note_refusal(Reason::overloaded);
  }
  auto& connection = desk.add(std::move(made));
  connection.arm(desk.timeouts(), desk.settings().limits.first_bytes_timeout);
  if (!connection.channel_->socket().listen(connection)) connection.end("overloaded");
}

ClientConnection::ClientConnection(Desk& desk, std::shared_ptr<const Plan> plan, const IngressListener& listener,
                                   net::Socket socket)
    : desk_(desk),
      plan_(std::move(plan)),
      listener_(&listener),
      channel_(std::make_unique<net::PlainChannel>(std::move(socket), desk.buffers())),
      peer_(channel_->socket().peer()),
      peer_text_(peer_.address.to_string()),
      id_(desk.house().recorder.next_id()),
      started_ns_(monotonic_ns()),
      moved_ns_(started_ns_),
      stage_(listener.kind == IngressListener::Kind::tls ? Stage::hello : Stage::open),
      draining_(desk.is_draining()) {}

ClientConnection::~ClientConnection() = default;

serving::Flow ClientConnection::flow() const {
  serving::Flow flow;
  flow.id = id_;
  flow.source = peer_.to_string();
  flow.destination = listener_ != nullptr ? ":" + std::to_string(listener_->port) : "";
  flow.host = sni_;
  flow.verdict = "allow";
  flow.datapath = "ingress";
  flow.bytes_sent = received_;
  flow.bytes_received = sent_;
  flow.age_s = static_cast<double>(monotonic_ns() - started_ns_) / 1e9;
  return flow;
}

const std::shared_ptr<const Plan>& ClientConnection::plan() {
  const auto& now = desk_.plan();
  if (plan_ == now) return plan_;
  const auto* listener = listener_ != nullptr ? now->find_listener(listener_->bind, listener_->port) : nullptr;
  const auto kind = is_encrypted() ? IngressListener::Kind::tls : IngressListener::Kind::http;
  if (listener != nullptr && listener->kind != kind) listener = nullptr;
  const bool has_server = listener != nullptr && is_encrypted();
  listener_ = listener;
  server_ = has_server ? now->routes->find_server(*listener, sni_) : nullptr;
  outdated_ = has_server && (server_ == nullptr || now->contexts[server_->number] != context_);
  plan_ = now;
  return plan_;
}

void ClientConnection::turn_soon() {
  if (stage_ == Stage::over) return;
  if (!std::exchange(turn_asked_, true)) channel_->socket().listen_later();
}

void ClientConnection::on_ready(net::Socket&, std::uint32_t events) {
  if (stage_ == Stage::over) return;
  if (events == 0) turn_asked_ = false;
  channel_->on_ready(events);
  if (stage_ == Stage::hello && !read_hello()) return;
  if (stage_ == Stage::handshake && !shake_hands()) return;
  if (stage_ == Stage::lingering) return discard();
  if (!codec_ && !probe_protocol()) return;
  if (!flush()) return;
  if (stage_ != Stage::open) return;
  codec_->on_input();
  constexpr std::uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
  if (stage_ == Stage::open && (events & ended) != 0) codec_->on_peer_end();
}

// The ClientHello is looked at and left where it is, for whoever ends the TLS, or the one that it is passed to.
bool ClientConnection::read_hello() {
  const auto buffer = desk_.buffers().reading();
  const auto got = ::recv(channel_->socket().native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_PEEK);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    end("finished");
    return false;
  }
  auto hello = wire::parse_client_hello(buffer.first(static_cast<std::size_t>(got)));
  if (const auto* whole = std::get_if<wire::ClientHello>(&hello)) return begin_tls(*whole);
  if (std::holds_alternative<wire::NeedMore>(hello)) return false;
  if (const auto* bad = std::get_if<wire::Malformed>(&hello)) {
    refuse_hello(Reason::hello_malformed, bad->what);
  } else if (std::holds_alternative<wire::TooLarge>(hello)) {
    refuse_hello(Reason::hello_too_large, "ClientHello over 16 KiB");
  } else {
    refuse_hello(Reason::not_tls, "no ClientHello");
  }
  return false;
}

bool ClientConnection::begin_tls(const wire::ClientHello& hello) {
  if (!desk_.plan()) return false;
  sni_ = hello.sni;
  server_ = plan_->routes->find_server(*listener_, sni_);
  if (server_ == nullptr) {
    refuse_hello(sni_.empty() ? Reason::sni_missing : Reason::host_not_registered, "no_server");
    return false;
  }
  auto socket = channel_->take_socket();
  if (server_->content != IngressServer::Content::http) {
    pass_on(std::move(socket));
    return false;
  }
  auto context = plan_->contexts[server_->number];
  auto channel = tls::TlsChannel::accept(*context, std::move(socket), desk_.buffers());
  if (!channel) {
    record_refusal(Reason::policy_not_ready, "no certificate could be read yet");
    end("overloaded");
    return false;
  }
  channel_ = std::move(channel);
  context_ = std::move(context);
  stage_ = Stage::handshake;
  channel_->socket().listen(*this);
  channel_->on_ready(EPOLLIN);
  return true;
}

// To a call of its own.
void ClientConnection::pass_on(net::Socket socket) {
  socket.stop_listening();
  stage_ = Stage::over;
  disarm();
  place_.reset();
  boost::asio::co_spawn(desk_.worker().context(), relay(desk_, plan_, *listener_, *server_, sni_, std::move(socket)),
                        boost::asio::detached);
  desk_.dismiss(*this);
}

bool ClientConnection::shake_hands() {
  auto& tls = static_cast<tls::TlsChannel&>(*channel_);
  switch (tls.handshake()) {
    case net::Io::wait:
      return false;
    case net::Io::end:
    case net::Io::broken:
      record_refusal(Reason::hello_malformed, "TLS handshake: " + tls.failure());
      linger();
      return false;
    case net::Io::done:
      break;
  }
  stage_ = Stage::open;
  begin_codec(tls.alpn());
  on_request_ended();
  return true;
}

void ClientConnection::begin_codec(std::string_view protocol) {
  if (protocol == "h2") {
    codec_ = std::make_unique<Http2Server>(*this);
  } else {
    codec_ = std::make_unique<Http1Server>(*this);
  }
  if (draining_) codec_->on_drain();
}

bool ClientConnection::flush() {
  bool moved = false;
  while (stage_ == Stage::open ? codec_ && codec_->produce() : channel_->queued() > 0) {
    const auto before = channel_->queued();
    const auto sent = channel_->flush();
    if (sent == net::Io::broken) {
      end("client_reset");
      return false;
    }
    sent_ += before - channel_->queued();
    moved = true;
    if (sent == net::Io::wait) break;
  }
  if (stage_ == Stage::finishing) {
    if (channel_->queued() == 0) linger();
    return false;
  }
  if (moved && !channel_->is_full()) codec_->on_room();
  return !is_over();
}

// HTTP/2 without TLS begins with its preface (RFC 9113 section 3.4), HTTP/1.1 with anything else. False: not known yet.
bool ClientConnection::probe_protocol() {
  constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  std::array<char, preface.size()> bytes{};
  const auto got = ::recv(channel_->socket().native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_PEEK);
  if (got <= 0) {
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) end("finished");
    return false;
  }
  const std::string_view begun(bytes.data(), static_cast<std::size_t>(got));
  if (!preface.starts_with(begun)) {
    begin_codec("");
  } else if (begun.size() == preface.size()) {
    begin_codec("h2");
  }
  return codec_ != nullptr;
}

void ClientConnection::expect_head() {
  if (!std::exchange(in_head_, true) && waiting_) {
    waiting_ = false;
    arm(desk_.timeouts(), desk_.settings().limits.first_bytes_timeout);
  }
}

void ClientConnection::on_request_begun() {
  ++requests_;
  in_head_ = waiting_ = false;
  arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
}

void ClientConnection::on_request_ended() {
  in_head_ = false;
  waiting_ = true;
  arm(desk_.timeouts(), draining_ ? drain_grace : desk_.settings().limits.http_idle_timeout);
}

void ClientConnection::on_timeout() {
  if (stage_ == Stage::hello || stage_ == Stage::handshake) {
    record_refusal(Reason::hello_timeout, "the TLS handshake took too long");
    return end("timeout");
  }
  if (stage_ == Stage::lingering) return end("finished");
  const auto progress = received_ + sent_;
  const bool moved = std::exchange(seen_progress_, progress) != progress;
  const auto now_ns = monotonic_ns();
  if (moved) moved_ns_ = now_ns;
  const auto& limits = desk_.settings().limits;
  if (stage_ == Stage::finishing) {
    if (!moved) return end("idle");
  } else if (!codec_ || codec_->is_idle()) {
    // Between requests, or before the first one.
    idle_ = true;
    if (!codec_) return finish();
    arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
    return codec_->on_idle();
  } else if (in_head_) {
    return codec_->on_late_head();
  } else {
    const bool stalls = !moved && (channel_->queued() > 0 || codec_->awaits_client());
    if (stalls && channel_->queued() == 0 && codec_->on_late_content()) return;
    if (stalls || std::chrono::nanoseconds(now_ns - moved_ns_) > limits.idle_timeout) return end("idle");
  }
  arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
}

void ClientConnection::finish() {
  if (stage_ != Stage::open) return;
  stage_ = Stage::finishing;
  arm(desk_.timeouts(), desk_.settings().ingress.stall_timeout);
  turn_soon();
}

// Closing with unread bytes would send RST and destroy what was sent last on its way.
void ClientConnection::linger() {
  stage_ = Stage::lingering;
  channel_->finish();
  arm(desk_.timeouts(), linger_limit);
  discard();
}

void ClientConnection::discard() {
  const auto buffer = desk_.buffers().reading();
  for (int count = 0; count < linger_reads; ++count) {
    const auto got = ::recv(channel_->socket().native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return end("finished");
    if (got < 0) return;
  }
  turn_soon();
}

void ClientConnection::end(std::string_view why) {
  if (stage_ == Stage::over) return;
  const bool gently = why == "finished";
  stage_ = Stage::over;
  disarm();
  if (codec_) codec_->on_gone(why);
  if (codec_ && is_encrypted() && requests_ == 0) record_unused(idle_ ? "idle" : why);
  if (gently) {
    channel_->socket().close();
  } else {
    net::reset(channel_->socket());
  }
  place_.reset();
  desk_.dismiss(*this);
}

void ClientConnection::drain() {
  draining_ = true;
  if (stage_ != Stage::open) return;
  if (codec_) codec_->on_drain();
  if (!codec_ || codec_->is_idle()) arm(desk_.timeouts(), drain_grace);
}

void ClientConnection::describe(observe::Record& record) const {
  record.id = id_;
  record.source = peer_;
  if (listener_ != nullptr) record.destination = Endpoint{IpAddress(), listener_->port};
  record.protocol = "http";
  record.sni = sni_;
  if (is_encrypted()) {
    const auto& tls = static_cast<const tls::TlsChannel&>(*channel_);
    record.tls_versions = {std::string(tls.version())};
    if (auto protocol = tls.alpn(); !protocol.empty()) record.alpn = {std::move(protocol)};
  }
  if (server_ != nullptr) record.gateway = server_->name;
  record.datapath = "relay";
}

void ClientConnection::refuse_hello(Reason reason, std::string_view detail) {
  record_refusal(reason, detail);
  channel_->write(ByteSpan(relay::refusal_answer(Sniffed::tls, reason, sni_, detail)));
  stage_ = Stage::finishing;
  turn_soon();
}

void ClientConnection::record_unused(std::string_view why) {
  observe::Record record;
  describe(record);
  record.event = observe::Event::close;
  record.protocol = "tls";
  record.verdict = observe::Decision::allow;
  record.reason = Reason::registered;
  record.bytes_sent = received_;
  record.bytes_received = sent_;
  record.duration_ms = static_cast<double>(monotonic_ns() - started_ns_) / 1e6;
  record.close_reason = why;
  desk_.log().add(std::move(record));
  if (desk_.is_draining()) desk_.log().flush();
}

void ClientConnection::record_refusal(Reason reason, std::string_view detail) {
  observe::Record record;
  describe(record);
  record.event = observe::Event::deny;
  record.protocol = "tls";
  record.verdict = observe::Decision::deny;
  record.reason = reason;
  record.detail = detail;
  desk_.house().recorder.denied(record);
}

}  // namespace sluice::ingress

// One connection of a client, from its accept on: TLS, then what it speaks. It lives in its worker's list of guests.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ingress/guest.h"
#include "ingress/plan.h"
#include "ingress/server_codec.h"
#include "net/channel.h"
#include "observe/audit.h"
#include "serving/live.h"
#include "tls/channel.h"
#include "wire/client_hello.h"

namespace sluice::ingress {

class Desk;

class ClientConnection final : public Guest, public serving::Live, private net::Socket::Listener, private net::Timeout {
 public:
  // Serves what came to `listener`, of `plan`, which is not one for TCP.
  static void open(Desk& desk, std::shared_ptr<const Plan> plan, const IngressListener& listener, net::Socket socket);
  ~ClientConnection() override;

  // serving::Live
  serving::Flow flow() const override;
  bool still_allowed(const Snapshot&) const override { return true; }
  void cut(std::string_view why) override { end(why); }

  // For its codec and exchanges:
  Desk& desk() { return desk_; }
  net::Channel& channel() { return *channel_; }
  const net::Channel& channel() const { return *channel_; }
  bool is_encrypted() const { return context_ != nullptr; }
  bool is_over() const { return stage_ == Stage::lingering || stage_ == Stage::over; }
  bool is_draining() const { return draining_; }
  const std::string& peer_text() const { return peer_text_; }

  // The policy in force now, and the listener and server that this connection has there.
  const std::shared_ptr<const Plan>& plan();
  const IngressListener* listener() const { return listener_; }
  const IngressServer* server() const { return server_; }
  // Its TLS was agreed on other terms than the server has now.
  bool is_outdated() const { return outdated_; }

  // Sends what was written, at the end of the turn, and then has the codec look for more to read.
  void flush_soon() { turn_soon(); }
  void turn_soon();
  // Bytes of a head are there.
  void expect_head();
  void on_request_begun();
  void on_request_ended();
  void count_received(std::size_t bytes) { received_ += bytes; }
  // Ends when everything written is sent.
  void finish();
  // Ends now. `why` as in records.
  void end(std::string_view why);
  void drain();

  // What records of its requests say of it.
  void describe(observe::Record& record) const;

 private:
  enum class Stage : std::uint8_t { hello, handshake, open, finishing, lingering, over };

  ClientConnection(Desk& desk, std::shared_ptr<const Plan> plan, const IngressListener& listener, net::Socket socket);

  void on_ready(net::Socket& socket, std::uint32_t events) override;
  void on_timeout() override;
  // Each true when the next stage has begun.
  bool read_hello();
  bool begin_tls(const wire::ClientHello& hello);
  bool shake_hands();
  void pass_on(net::Socket socket);
  bool probe_protocol();
  void begin_codec(std::string_view protocol);
  // False: it is over.
  bool flush();
  void linger();
  void discard();
  void refuse_hello(Reason reason, std::string_view detail);
  void record_refusal(Reason reason, std::string_view detail);
  // For TLS that nobody asked anything in.
  void record_unused(std::string_view why);

  Desk& desk_;
  std::shared_ptr<const Plan> plan_;
  const IngressListener* listener_;              // of plan_; null: it has none like it any more
  const IngressServer* server_ = nullptr;        // of plan_, where TLS ended; null: plain, or there is none any more
  std::shared_ptr<const tls::Context> context_;  // that its TLS was begun with; null: plain
  std::string sni_;
  std::unique_ptr<net::Channel> channel_;
  std::unique_ptr<ServerCodec> codec_;
  std::optional<serving::LiveTable::Place> place_;
  const Endpoint peer_;
  const std::string peer_text_;  // the address alone
  std::string id_;
  std::uint64_t started_ns_;
  std::uint64_t moved_ns_;  // when a look last found that bytes had passed
  std::uint64_t received_ = 0;
  std::uint64_t seen_progress_ = 0;
  std::uint64_t sent_ = 0;
  std::size_t requests_ = 0;
  Stage stage_ = Stage::open;
  bool turn_asked_ = false;
  bool waiting_ = false;  // for a request; the timeout is that of idle connections
  bool in_head_ = false;
  bool idle_ = false;  // for so long that it ends
  bool draining_ = false;
  bool outdated_ = false;
};

}  // namespace sluice::ingress

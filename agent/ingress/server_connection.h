// One connection to an endpoint upstream: dialled, perhaps with TLS, and told what happens on it. What it speaks is
// its heirs' part.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "ingress/guest.h"
#include "ingress/stream.h"
#include "net/channel.h"

namespace sluice::ingress {

class Desk;
struct Place;

class ServerConnection : public Guest, private net::Socket::Listener, private net::Timeout {
 public:
  ~ServerConnection() override;
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

 protected:
  // `channel`: of a socket that is connecting; of TLS when TLS is to begin then.
  ServerConnection(Desk& desk, std::shared_ptr<Place> place, std::unique_ptr<net::Channel> channel);

  // Closes it; its exchanges, if any, are not told.
  void close();
  // The same, and it is dismissed.
  void leave();

  // Bytes may be there, or the end.
  virtual void on_input() = 0;
  // Writes what there is to say to the channel, as far as that is not full; false: nothing is there to be sent.
  virtual bool produce() { return channel().queued() > 0; }
  virtual void on_room() = 0;
  // It is over, and closed; to be dismissed.
  virtual void on_broken(const Failure& failure) = 0;
  virtual void on_idle_for_long() {}
  // Whether something is due of the server: bytes to take, or an answer's rest.
  virtual bool is_due() const = 0;

  bool is_open() const { return stage_ == Stage::open; }
  bool is_over() const { return stage_ == Stage::over; }
  net::Channel& channel() { return *channel_; }
  const net::Channel& channel() const { return *channel_; }
  // Sends what was written, at the end of the turn.
  void flush_soon();
  // A failure found by whoever reads.
  void fail(Failure::Kind kind, std::string detail);
  // Ends it by on_idle_for_long() unless it is used before.
  void rest(net::Milliseconds limit);
  void wake();
  void note_progress() { moved_ = true; }

  Desk& desk_;
  const std::shared_ptr<Place> place_;

 private:
  enum class Stage : std::uint8_t { connecting, handshake, open, over };

  void on_ready(net::Socket& socket, std::uint32_t events) override;
  void on_timeout() override;
  bool connect(std::uint32_t events);
  bool shake_hands();
  void flush();

  std::unique_ptr<net::Channel> channel_;
  Stage stage_ = Stage::connecting;
  bool turn_asked_ = false;
  bool resting_ = false;
  bool moved_ = false;  // bytes, since the last look
};

}  // namespace sluice::ingress

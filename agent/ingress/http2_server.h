// HTTP/2 (RFC 9113) with a client: many exchanges at once.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "ingress/client_connection.h"
#include "ingress/exchange.h"
#include "ingress/http2_common.h"
#include "ingress/server_codec.h"
#include "ingress/stream.h"

namespace sluice::ingress {

class Http2Server final : public ServerCodec {
 public:
  explicit Http2Server(ClientConnection& connection);
  ~Http2Server() override;

  void on_input() override;
  bool produce() override;
  void on_room() override;
  void on_peer_end() override {}
  void on_gone(std::string_view why) override;
  void on_late_head() override {}  // it has no such state
  bool on_late_content() override { return false; }
  void on_drain() override;
  void on_idle() override;
  bool is_idle() const override { return exchanges_ == 0; }
  // Streams of gRPC may be silent both ways for as long as they like.
  bool awaits_client() const override { return false; }

 private:
  class Stream;
  struct Callbacks;  // nghttp2's

  // Null when memory is exhausted.
  nghttp2_session* make_session();
  Stream* find(std::int32_t id);
  void open(std::int32_t id);
  void close(Stream& stream);
  void end_head(Stream& stream, bool ends);
  void end_if_done();
  // No stream beyond those that came.
  void end_streams();
  // Tells the client (RFC 9113 section 7), and reads nothing more. 0, for callbacks.
  int end_by(std::uint32_t error);
  void give_up(int error);
  bool is_closed(std::int32_t id) const;
  // False: there were more WINDOW_UPDATEs than anything called for.
  bool takes_window();

  ClientConnection& connection_;
  Http2Session session_;
  Http2Fields fields_;  // of what is being submitted
  std::unordered_map<std::int32_t, std::unique_ptr<Stream>> streams_;
  std::vector<std::unique_ptr<Stream>> idle_;
  std::size_t exchanges_ = 0;
  EventBudget resets_;    // of streams, by the client or by its fault
  EventBudget controls_;  // SETTINGS, PING, PRIORITY, empty frames
  std::size_t spare_windows_;
  std::int32_t last_ = 0;         // of the streams that were opened
  std::int32_t reset_until_ = 0;  // none beyond was reset by this side
  bool failed_ = false;
  bool draining_ = false;      // the client is being told
  bool last_told_ = false;     // and knows which stream was the last
  bool tunnel_begun_ = false;  // some stream has bytes that were held for this
};

}  // namespace sluice::ingress

// HTTP/1.1 (RFC 9112) with a server: one exchange at a time, kept for the next one when it may be.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ingress/server_connection.h"
#include "ingress/stream.h"
#include "relay/http2_message.h"

namespace sluice::ingress {

class Http1Client final : public ServerConnection, public ServerStream {
 public:
  Http1Client(Desk& desk, std::shared_ptr<Place> place, std::unique_ptr<net::Channel> channel)
      : ServerConnection(desk, std::move(place), std::move(channel)) {}
  ~Http1Client() override;

  // Who is told of what comes next; before send_request().
  void serve(AnswerTaker& taker);

  // One that rests ends.
  void retire() { on_idle_for_long(); }

  void send_request(const OutgoingRequest& request) override;
  void send_content(ByteSpan content) override;
  void send_end(const Fields& trailers) override;
  bool is_full() const override { return channel().is_full(); }
  void read_more() override;
  void release() override;
  std::string_view address() const override;

 private:
  void on_input() override;
  void on_room() override;
  void on_broken(const Failure& failure) override;
  void on_idle_for_long() override;
  bool is_due() const override;

  void take(ByteSpan bytes);
  bool take_head(ByteSpan& bytes);
  void take_content(ByteSpan& bytes);
  void on_end();
  void end_answer();

  AnswerTaker* taker_ = nullptr;  // null while it rests
  std::vector<std::uint8_t> kept_;
  std::optional<relay::BodyContent> body_;
  std::string method_;
  bool chunked_ = false;  // the request's content
  bool request_ended_ = false;
  bool answer_begun_ = false;  // a byte of it came
  bool head_taken_ = false;
  bool answer_ended_ = false;
  bool keeps_alive_ = false;
  bool until_close_ = false;
  bool raw_ = false;  // upgraded
  bool wants_upgrade_ = false;
  bool paused_ = false;
  std::uint32_t uses_ = 0;  // exchanges that it had, this one among them
};

}  // namespace sluice::ingress

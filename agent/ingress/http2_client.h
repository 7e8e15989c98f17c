// HTTP/2 (RFC 9113) with a server: the exchanges of many clients on one connection.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "ingress/http2_common.h"
#include "ingress/server_connection.h"
#include "ingress/stream.h"

namespace sluice::ingress {

class Http2Client final : public ServerConnection {
 public:
  Http2Client(Desk& desk, std::shared_ptr<Place> place, std::unique_ptr<net::Channel> channel);
  ~Http2Client() override;

  // Takes one more request.
  bool has_room() const;
  ServerStream& open(AnswerTaker& taker);
  // Takes no more requests, and ends with those under way.
  void retire();

 private:
  class Stream;
  struct Callbacks;  // nghttp2's

  void on_input() override;
  void on_room() override;
  void on_broken(const Failure& failure) override;
  void on_idle_for_long() override { retire(); }
  bool is_due() const override;
  bool produce() override;

  Stream* find(std::int32_t id);
  void end_head(Stream& stream, bool ends);
  // Nothing more comes on it.
  void close(Stream& stream, std::uint32_t error);
  void forget(Stream& stream);
  void end_if_done();

  Http2Session session_;
  Http2Fields fields_;
  std::unordered_map<std::int32_t, Stream*> by_id_;  // of the open ones
  std::vector<std::unique_ptr<Stream>> streams_;     // all that somebody holds, or that are open
  std::vector<std::unique_ptr<Stream>> idle_;
  std::uint32_t uses_ = 0;  // requests so far
  bool retiring_ = false;
};

}  // namespace sluice::ingress

// An exchange (one request and its answer) between two streams: one of a client's connection, one of a server's.
// Whether either speaks HTTP/1.1 or HTTP/2 does not matter to it. Nothing here waits: what cannot go on now is told
// later.
//
// Back-pressure: content is pushed on as it comes. Who returns false from on_..._content() takes no more: the stream
// stops reading until read_more().
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "ingress/message.h"

namespace sluice::ingress {

// One request of a client's connection: takes the answer.
class ClientStream {
 public:
  // 1xx but 101.
  virtual void send_interim(unsigned status, const Fields& fields) = 0;
  // With 101 the stream becomes one of bytes, both ways.
  virtual void send_head(const Answer& answer) = 0;
  virtual void send_content(ByteSpan content) = 0;
  virtual void send_end(const Fields& trailers) = 0;
  // The answer cannot go on: breaks it off, so that the client knows.
  virtual void abort() = 0;
  virtual bool is_full() const = 0;
  virtual void read_more() = 0;
  // The exchange is over and gone: after a complete answer, or abort(). What of the request has not come is not wanted.
  virtual void release() = 0;

 protected:
  ~ClientStream() = default;
};

// One request on a server's connection: takes the request.
class ServerStream {
 public:
  virtual void send_request(const OutgoingRequest& request) = 0;
  virtual void send_content(ByteSpan content) = 0;
  virtual void send_end(const Fields& trailers) = 0;
  virtual bool is_full() const = 0;
  virtual void read_more() = 0;
  // The exchange wants nothing more of it, be it complete or not. It is not told of anything any more.
  virtual void release() = 0;
  // How it was reached, for records.
  virtual std::string_view address() const = 0;

 protected:
  ~ServerStream() = default;
};

// Why there is no (whole) answer.
struct Failure {
  enum class Kind : std::uint8_t {
    connect,  // the request was not sent
    refused,  // HTTP/2 REFUSED_STREAM: it was not looked at
    stale,    // the kept connection was closed meanwhile, without a byte of an answer
    reset,    // broken off
    timeout,  // of the connection's beginning
  };
  Kind kind = Kind::reset;
  std::string detail;
};

// What the stream of a server tells. After on_answer_end() or on_failure() it tells nothing more, and is to be
// released.
class AnswerTaker {
 public:
  virtual void on_interim(unsigned status, const Fields& fields) = 0;
  virtual void on_answer(const Answer& answer) = 0;
  virtual bool on_answer_content(ByteSpan content) = 0;
  virtual void on_answer_end(const Fields& trailers) = 0;
  virtual void on_failure(const Failure& failure) = 0;
  virtual void on_server_room() = 0;

 protected:
  ~AnswerTaker() = default;
};

// What the stream of a client tells, after it was told of the whole head. After on_client_gone() nothing more.
class RequestTaker {
 public:
  virtual bool on_request_content(ByteSpan content) = 0;
  virtual void on_request_end(const Fields& trailers) = 0;
  virtual void on_client_gone(std::string_view why) = 0;
  virtual void on_client_room() = 0;

 protected:
  ~RequestTaker() = default;
};

}  // namespace sluice::ingress

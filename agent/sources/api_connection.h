// One HTTP/1.1 connection to the API server (RFC 9112), for one request after the other. Answers are read as they come:
// a watch is one whose body does not end for minutes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/stream.h"
#include "wire/http_head.h"

namespace sluice::sources {

struct ApiRequest {
  std::string target;  // path and query
  std::string host;    // of the Host field
  std::string token;   // empty: none
  std::string method = "GET";
  std::string content_type{};  // of the body; empty: there is none
  std::string body{};
};

// Belongs to one thread. After an error it is of no more use.
class ApiConnection {
 public:
  explicit ApiConnection(std::unique_ptr<net::Stream> stream);

  // Sends the request and reads the head of the answer: its status. The body before was read to its end.
  net::Task<Result<unsigned>> ask(ApiRequest request, net::Milliseconds timeout);
  // More of the body, good until the next call; empty: it has ended.
  net::Task<Result<std::string_view>> read_body(net::Milliseconds timeout);
  // May another request follow now?
  bool reusable() const { return keep_alive_ && (!body_ || body_->done()); }

 private:
  net::Task<Result<Done>> receive(net::Milliseconds timeout);
  // Of the body, what is there without reading; nullopt: its framing is broken.
  std::optional<std::string_view> take_body();

  std::unique_ptr<net::Stream> stream_;
  std::vector<std::uint8_t> buffer_;  // received; from start_ on not used yet
  std::size_t start_ = 0;
  std::optional<wire::BodyReader> body_;
  bool until_close_ = false;  // the body ends with the connection
  bool keep_alive_ = true;
};

}  // namespace sluice::sources

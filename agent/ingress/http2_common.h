// What both sides of HTTP/2 (RFC 9113) make of nghttp2.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "ingress/message.h"
#include "net/channel.h"

namespace sluice::ingress {

struct FreeHttp2Session {
  void operator()(nghttp2_session* session) const { ::nghttp2_session_del(session); }
};
using Http2Session = std::unique_ptr<nghttp2_session, FreeHttp2Session>;

// Of sessions of either side: windows are opened by hand, and CONTINUATIONs are bounded. For good.
nghttp2_option* make_http2_options();

inline std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Fields as nghttp2 takes them, which copies them and lower-cases their names.
class Http2Fields {
 public:
  void clear() { list_.clear(); }
  void add(std::string_view name, std::string_view value);
  void add(const Fields& fields);
  const nghttp2_nv* data() const { return list_.data(); }
  std::size_t size() const { return list_.size(); }

 private:
  std::vector<nghttp2_nv> list_;
};

// The content of one message on its way into DATA frames, and the trailers behind it.
class Http2Content {
 public:
  explicit Http2Content(net::Buffers& buffers) : buffers_(buffers) {}
  ~Http2Content() { drop(); }
  Http2Content(const Http2Content&) = delete;
  Http2Content& operator=(const Http2Content&) = delete;

  void add(ByteSpan content);
  void end(const Fields& trailers);
  void clear();
  std::size_t waiting() const { return bytes_.size() - taken_; }
  bool is_full() const { return waiting() >= net::Buffers::buffer_bytes; }
  // nghttp2 asked while there was nothing: it is to be told when there is.
  bool take_deferred() { return std::exchange(deferred_, false); }

  // Gives nghttp2 what there is, for as long as this lives.
  nghttp2_data_provider provider();
  // A nghttp2_send_data_callback's: the frame goes to `channel` as it is.
  void send(net::Channel& channel, const std::uint8_t* head, std::size_t length);

 private:
  ssize_t read(nghttp2_session* session, std::int32_t stream, std::size_t length, std::uint32_t& flags);
  void drop();

  net::Buffers& buffers_;
  std::vector<std::uint8_t> bytes_;
  std::size_t taken_ = 0;
  std::vector<std::pair<std::string, std::string>> trailers_;
  bool ended_ = false;
  bool deferred_ = false;
};

// A head that comes field by field, as text that HTTP/1.1 would have: bounded, each field checked by nghttp2 already.
class Http2Head {
 public:
  explicit Http2Head(std::size_t max_bytes) : max_bytes_(max_bytes) {}
  void clear();
  // False: it is too large.
  bool add(std::string_view name, std::string_view value);
  bool is_too_large() const { return bytes_ > max_bytes_; }
  std::size_t bytes() const { return bytes_; }
  // Ends it: the field lines, behind which nothing is added any more.
  const std::string& finish();

  std::string method;
  std::string scheme;
  std::string authority;
  std::string protocol;  // RFC 8441
  std::string path;
  unsigned status = 0;

 private:
  std::size_t max_bytes_;
  std::size_t bytes_ = 0;
  std::string lines_;
  std::string cookies_;
};

// So many events a second, with bursts.
class EventBudget {
 public:
  EventBudget(double burst, double per_second) : burst_(burst), per_second_(per_second), left_(burst) {}
  // False: used up.
  bool take();

 private:
  double burst_;
  double per_second_;
  double left_;
  std::uint64_t last_ns_ = 0;
};

// Sends what nghttp2 has to say, as far as the channel is not full; false: the session is broken.
bool send_frames(nghttp2_session& session, net::Channel& channel);

}  // namespace sluice::ingress

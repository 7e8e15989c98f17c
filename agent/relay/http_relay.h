// Relaying plain HTTP/1.1: one exchange after the other, every request judged before a byte of it goes on.
#pragma once

#include <variant>

#include "relay/first_bytes.h"
#include "relay/tunnel.h"

namespace sluice::relay {

struct HttpDenial {
  Reason reason;
  std::string detail;
};

// Who judges the requests of one connection: the agent's or the gateway's story.
class HttpJudge {
 public:
  virtual ~HttpJudge() = default;
  // Decides, records, and gives the connection that this request goes to, ready for its first byte; it stays the
  // judge's and lives until the next call. A denial was recorded by the judge. `bytes` are those of `head`.
  virtual net::Task<std::variant<net::Stream*, HttpDenial>> route(const wire::RequestHead& head, ByteSpan bytes) = 0;
  // Records a request that could not be read.
  virtual void refuse_unreadable(const Unreadable& unreadable) = 0;
};

struct HttpLimits {
  net::Milliseconds head_timeout;  // for one request head once it began
  net::Milliseconds keep_alive;    // between two requests
  net::Milliseconds idle;          // within an exchange, or after an upgrade
};

// Serves `client` until it ends; `first` is its first request, read already. Ends with `client` closed. Requests of one
// connection are answered in order, the next one is read when the answer is complete: a denial is always the answer to
// the request that was denied. After 101 the connection is a tunnel to the host that was judged.
net::Task<End> relay_http(net::Stream& client, FirstBytes first, HttpJudge& judge, HttpLimits limits, PipePool& pipes,
                          Totals& totals);

}  // namespace sluice::relay

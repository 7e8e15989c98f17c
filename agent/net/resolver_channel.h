// c-ares on the event loop: DNS queries of one type each, nothing cached, no files and no search domains consulted.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/result.h"

namespace sluice::net {

class DnsChannel {
 public:
  // An ARES_ status and, where there is one, the DNS message. Called exactly once a query, also from within query() and
  // from the destructor (ARES_EDESTRUCTION); it must not destroy the channel.
  using Callback = std::function<void(int status, ByteSpan answer)>;

  // Tries are spread so that the last one ends within `timeout`. No servers: those of /etc/resolv.conf, read once.
  static Result<std::unique_ptr<DnsChannel>> open(boost::asio::io_context& context,
                                                  const std::vector<Endpoint>& servers,
                                                  std::chrono::milliseconds timeout);
  ~DnsChannel();

  void query(const std::string& name, int type, Callback callback);
  // Queries whose callback is still to come.
  std::size_t pending() const;
  // For messages: "server 10.0.0.10:53", "servers 10.0.0.10:53, [fd00::a]:53".
  const std::string& servers() const;

 private:
  struct State;
  explicit DnsChannel(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace sluice::net

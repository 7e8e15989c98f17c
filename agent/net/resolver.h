// Name resolution with c-ares on the event loop, TTL honoured.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::net {

struct ResolverOptions {
  std::vector<Endpoint> servers;                     // empty: those of /etc/resolv.conf
  std::chrono::milliseconds timeout{2000};           // for one look-up, tries included
  std::chrono::seconds max_ttl{300};
  std::chrono::seconds negative_ttl{5};
  std::size_t max_entries = 10000;                   // names held; the oldest goes first
  std::size_t max_addresses = 64;                    // kept of one answer
};

// Belongs to one io_context and its thread.
class Resolver {
 public:
  static Result<std::unique_ptr<Resolver>> open(boost::asio::io_context& context, ResolverOptions options);
  ~Resolver();

  // A and AAAA of `name`, IPv6 and IPv4 interleaved starting with IPv6 (RFC 8305 section 4), from cache while the TTL
  // lasts. Concurrent look-ups of one name are one query. The error says which server and why ("no such name", ...).
  boost::asio::awaitable<Result<std::vector<IpAddress>>> resolve(std::string name);

 private:
  struct State;
  explicit Resolver(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace sluice::net

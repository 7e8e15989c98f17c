// Name resolution with c-ares on the event loop, TTL honoured.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ip.h"
#include "base/result.h"

namespace sluice::net {

struct ResolverOptions {
  std::vector<Endpoint> servers;            // empty: those of /etc/resolv.conf, read once
  std::chrono::milliseconds timeout{2000};  // for one look-up, tries included
  std::chrono::seconds max_ttl{300};
  std::chrono::seconds negative_ttl{5};
  std::size_t max_entries = 10000;                       // names held; the least recently used goes first
  std::size_t max_addresses = 64;                        // kept of one answer
  std::size_t max_lookups = 1000;                        // under way at once; more fail immediately
  std::function<std::uint64_t()> now_ns = monotonic_ns;  // what cache times are measured by
};

// Belongs to one io_context and its thread, and goes before the io_context does. Asks DNS servers alone: names are
// absolute, no search domains, no hosts file.
class Resolver {
 public:
  static Result<std::unique_ptr<Resolver>> open(boost::asio::io_context& context, ResolverOptions options);
  // Look-ups under way end with an error, by the event loop's next turn.
  ~Resolver();

  // A and AAAA of `name`, IPv6 and IPv4 interleaved starting with IPv6 (RFC 8305 section 4), from cache while the TTL
  // lasts (1 s to max_ttl). Never empty. Concurrent look-ups of one name are one pair of queries. When one family has
  // answered, the other has a quarter of the timeout left; what lacks a family for want of an answer is kept no longer
  // than negative_ttl. "No such name" and "no addresses" are kept for negative_ttl, other failures not at all. The
  // error says which server and why. `name` is normalised (lower case, no trailing dot); an IP literal is refused. A
  // waiting caller may be cancelled; the look-up goes on for others and for the cache.
  boost::asio::awaitable<Result<std::vector<IpAddress>>> resolve(std::string name);
  // The same from the cache alone, valid until the next call; null: it has to be asked for.
  const Result<std::vector<IpAddress>>* known(const std::string& name);

 private:
  struct State;
  explicit Resolver(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace sluice::net

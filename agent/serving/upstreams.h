// Connecting an allowed call to where it goes outside: names are resolved, their addresses guarded, and the first that
// answers is taken.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "net/dial.h"
#include "net/resolver.h"
#include "serving/destination.h"

namespace sluice::serving {

// Why a call ends, for its record and its answer.
struct Refusal {
  Reason reason;
  std::string detail;
};

// Belongs to one worker's thread.
class Upstreams {
 public:
  // `settings` outlives it.
  static Result<std::unique_ptr<Upstreams>> open(boost::asio::io_context& context, const settings::Outside& settings);

  // The addresses of the targets of `query`, whose locality is filled in here, never none: of several targets no more
  // than `max_names` are resolved, and no more than `max_addresses` found. Fails with dns_failure, address_forbidden or
  // upstream_refused. What `query` points to lives as long as the task.
  static constexpr std::size_t max_names = 4;
  static constexpr std::size_t max_addresses = 6;
  net::Task<std::variant<std::vector<Endpoint>, Refusal>> find(TargetQuery query) {
    return find(query, max_names, max_addresses);
  }
  // The same within other bounds.
  net::Task<std::variant<std::vector<Endpoint>, Refusal>> find(TargetQuery query, std::size_t names,
                                                               std::size_t addresses);
  // Connects to the first of them that answers. Fails with upstream_timeout or upstream_refused.
  static net::Task<std::variant<net::Dialled, Refusal>> dial(std::vector<Endpoint> endpoints,
                                                             net::Milliseconds timeout);

 private:
  Upstreams(std::unique_ptr<net::Resolver> resolver, const settings::Outside& settings)
      : resolver_(std::move(resolver)), settings_(settings) {}

  // Appends what the target stands for; the reason when that is nothing.
  net::Task<std::optional<Refusal>> add_addresses(const Target& target, const Service& service, std::size_t max,
                                                  std::vector<Endpoint>& endpoints);

  std::unique_ptr<net::Resolver> resolver_;
  const settings::Outside& settings_;
};

}  // namespace sluice::serving

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

  // How many names of several targets are resolved, and addresses found.
  struct Bounds {
    std::size_t names = max_names;
    std::size_t addresses = max_addresses;
  };
  static constexpr std::size_t max_names = 4;
  static constexpr std::size_t max_addresses = 6;
  // The addresses of the targets of `query`, whose locality is filled in here, never none. Fails with dns_failure,
  // address_forbidden or upstream_refused. What `query` points to lives as long as the task.
  using Found = std::variant<std::vector<Endpoint>, Refusal>;
  net::Task<Found> find(TargetQuery query, Bounds bounds);
  // The same, as most of the time, from what is known already; nullopt: DNS has to be asked.
  std::optional<Found> find_known(const TargetQuery& query);

 private:
  // A find() that has come so far.
  struct Search {
    std::vector<Target> targets;
    const Service& service;
    Bounds bounds;
    std::size_t share;     // of the places, for one target
    std::size_t next = 0;  // of the targets
    std::size_t names = 0;
    std::vector<Endpoint> endpoints;
    std::optional<Refusal> refusal;  // of the last one that failed
  };

  Upstreams(std::unique_ptr<net::Resolver> resolver, const settings::Outside& settings)
      : resolver_(std::move(resolver)), settings_(settings) {}

  Search begin(TargetQuery query, Bounds bounds) const;
  // Goes on up to a name whose addresses are not known; null: it is over.
  const std::string* go_on(Search& search);
  static Found conclude(Search search);
  // Each takes the next target.
  void take_address(Search& search) const;
  void take_name(Search& search, const Result<std::vector<IpAddress>>& resolved) const;

  std::unique_ptr<net::Resolver> resolver_;
  const settings::Outside& settings_;
};

}  // namespace sluice::serving

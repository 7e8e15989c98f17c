// The endpoints of one destination as one worker sees them: where a request goes among them, which connections are
// kept, and who is left out for a while (passive outlier ejection).
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ip.h"
#include "ingress/cluster_services.h"
#include "ingress/load.h"
#include "ingress/stream.h"
#include "net/channel.h"
#include "policy/snapshot.h"
#include "serving/destination.h"
#include "tls/context.h"

namespace sluice::ingress {

class Cluster;
class Desk;
class Http1Client;
class Http2Client;

// One address, with its connections.
struct Place {
  static constexpr std::size_t max_kept = 1024;

  // What a DestinationRule says of each of its connections.
  struct Limits {
    net::Milliseconds connect_timeout{0};
    net::Milliseconds rest{60000};  // http.idleTimeout
    std::uint32_t requests = 0;     // http.maxRequestsPerConnection; 0: any
  };

  Place(const Endpoint& its_address, std::weak_ptr<Cluster> its_cluster, std::shared_ptr<Load> its_load)
      : address(its_address),
        address_text(its_address.to_string()),
        cluster(std::move(its_cluster)),
        load(std::move(its_load)) {}

  // Keeps a connection that rests; false: there are enough.
  bool keep(Http1Client& connection);
  void forget(const Http1Client& connection);
  // Each connection and each request, as it begins and as it is over.
  void count_connection(int by);
  void count_request(int by);

  const Endpoint address;
  const std::string address_text;
  const std::weak_ptr<Cluster> cluster;
  const std::shared_ptr<Load> load;
  Limits limits;
  std::vector<Http1Client*> resting;  // the last one was used last
  Http2Client* shared = nullptr;      // takes new requests; null: none
  std::size_t connections = 0;
  std::size_t requests = 0;     // under way
  std::uint32_t failures = 0;   // in a row
  std::uint32_t ejections = 0;  // since it answered last
  std::uint64_t ejected_until_ns = 0;
  bool gone = false;  // the destination has it no more
};

// What a destination of a rule comes to, by resources. Pointers lead into the snapshot, or into the services.
struct Target {
  std::shared_ptr<const Snapshot> snapshot;
  std::shared_ptr<const ClusterServices> services;
  const Service* service = nullptr;
  const ServicePort* port = nullptr;
  std::string host;                // to resolve, where endpoints do not say
  const Labels* subset = nullptr;  // of the endpoints; null: all
  TrafficPolicy policy;

  bool speaks_http2() const { return port->protocol == Protocol::http2 || port->protocol == Protocol::grpc; }
};

class Cluster : public std::enable_shared_from_this<Cluster> {
 public:
  Cluster(Desk& desk, std::string host, std::shared_ptr<Load> load)
      : desk_(desk), host_(std::move(host)), load_(std::move(load)) {}
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Who waits for endpoints to be known, or for a connection. It is told once, or goes.
  class Waiter : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
   public:
    virtual void on_ready() = 0;

   protected:
    ~Waiter() = default;
  };

  // What it stands for from now on; connections to endpoints that stay are kept.
  void use(Target target);
  const Target& target() const { return target_; }
  // As rules name it, for metrics.
  const std::string& host() const { return host_; }

  // True: there are endpoints, or problem() says why not. Else `waiter` is told when that is so.
  bool is_ready(Waiter& waiter);
  const std::string& problem() const { return problem_; }

  // What was learnt of a request to one of its endpoints: the status of the answer; 0: there was none.
  void note(Place& place, unsigned status);

  // An endpoint for a request, as the policy says: of two by turns the one with fewer requests, by turns, or any; none
  // of `tried` where there is another one. One that is left out only where all are. Null: there is none.
  std::shared_ptr<Place> choose(std::span<const Place* const> tried);
  // Why there is no stream for a request.
  struct NoStream {
    enum class Kind : std::uint8_t {
      failed,   // the destination's TLS cannot begin, or the kernel has no socket
      limited,  // by connectionPool
      wait,     // the same, but for a connection may be waited
    };
    Kind kind = Kind::failed;
    std::string problem;
  };
  // A stream for one request, on a connection that is kept or dialled for it. Null: `why` says it.
  ServerStream* open(const std::shared_ptr<Place>& place, AnswerTaker& taker, NoStream& why);
  // `waiter` is told when a connection may be there for it.
  void wait_for_connection(Waiter& waiter) { pending_.push_back(waiter); }
  // Connections or requests are fewer.
  void on_room();
  // Whether one more request may be tried again now; end_retry() when that one is over.
  bool begin_retry();
  void end_retry() { --load_->retries; }

 private:
  bool is_failure(unsigned status) const;
  // Endpoints that are there no more: connections that rest end, the others with their requests.
  static void retire(Place& place);
  void refresh();
  void set_endpoints(const std::vector<Endpoint>& endpoints);
  void settle(std::string problem);
  std::unique_ptr<net::Channel> dial(const Place& place, NoStream& why);
  bool has_connection() const;
  NoStream no_connection() const;
  Place::Limits limits() const;
  static net::Task<void> resolve(std::shared_ptr<Cluster> self);

  using Waiters = boost::intrusive::list<Waiter, boost::intrusive::constant_time_size<false>>;

  Desk& desk_;
  const std::string host_;
  const std::shared_ptr<Load> load_;
  Target target_;
  Protocol protocol_ = Protocol::http;  // of the target
  std::vector<serving::Target> plan_;   // what target_ comes to
  std::vector<std::shared_ptr<Place>> places_;
  std::size_t next_ = 0;
  bool by_name_ = false;  // some of plan_ must be resolved
  bool resolving_ = false;
  std::uint64_t fresh_until_ns_ = 0;
  std::string problem_;
  Waiters waiters_;  // for endpoints
  Waiters pending_;  // for a connection
};

}  // namespace sluice::ingress

// What the connections of one worker share.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ingress/access_log.h"
#include "ingress/cluster.h"
#include "ingress/exchange.h"
#include "ingress/guest.h"
#include "ingress/load.h"
#include "ingress/plan.h"
#include "net/channel.h"
#include "observe/metrics.h"
#include "serving/recorder.h"
#include "serving/upstreams.h"
#include "serving/worker.h"
#include "settings/settings.h"
#include "tls/origination.h"

namespace sluice::ingress {

class ClientConnection;

// What all workers share. It outlives them.
struct House {
  const settings::IngressSettings& settings;
  serving::Recorder& recorder;
  observe::Metrics& metrics;
  tls::OriginationContexts& originations;
  Loads& loads;
};

// Belongs to its worker's thread.
class Desk {
 public:
  Desk(const House& house, serving::Worker& worker, std::unique_ptr<serving::Upstreams> upstreams);
  ~Desk();
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;

  const House& house() const { return house_; }
  const settings::IngressSettings& settings() const { return house_.settings; }
  serving::Worker& worker() { return worker_; }
  serving::Upstreams& upstreams() { return *upstreams_; }
  tls::OriginationContexts& originations() { return house_.originations; }
  net::Buffers& buffers() { return buffers_; }
  net::Timeouts& timeouts() { return timeouts_; }
  AccessLog& log() { return log_; }

  // Null until the first policy came.
  const std::shared_ptr<const Plan>& plan() const { return plan_; }
  void adopt(std::shared_ptr<const Plan> plan);
  // Connections without a request end now, the others with it.
  void drain();
  bool is_draining() const { return draining_; }

  template <typename T>
  T& add(std::unique_ptr<T> guest) {
    return guests_.add(std::move(guest));
  }
  void dismiss(Guest& guest) { guests_.dismiss(guest); }

  // For one request of a client's connection, until it gives itself back.
  Exchange& take_exchange(ClientConnection& connection);
  void give_back(Exchange& exchange);

  // Where requests for `destination`, of a rule of `plan`, go; null: no service has that host and port. `port`: the
  // listener's, for destinations that name none.
  std::shared_ptr<Cluster> find_cluster(const Plan& plan, const Destination& destination, std::uint16_t port);
  // The same for copies of the requests of `rule`, which are left out where there is none: the log says so, once.
  std::shared_ptr<Cluster> find_mirror(const Plan& plan, const Destination& destination, std::uint16_t port,
                                       std::string_view rule);

  // The same without regard to connections; nullopt: no service has that host and port.
  std::optional<Target> find_target(const Plan& plan, const Destination& destination, std::uint16_t port) const;

  // Counts a request that is over; `route` is of `plan`, null where there was none.
  void note_request(const Plan* plan, const IngressRoute& route, unsigned status, double seconds);
  // Counts a connection that was not let in.
  void note_refusal(Reason reason);

  // Date of an answer (RFC 9110 section 6.6.1), of this second.
  std::string_view date();
  // Evenly spread over all values; not for secrets.
  std::uint64_t pick();

 private:
  const House house_;
  serving::Worker& worker_;
  std::unique_ptr<serving::Upstreams> upstreams_;
  net::Timeouts& timeouts_;
  net::Buffers buffers_;
  AccessLog log_;
  std::shared_ptr<const Plan> plan_;
  bool draining_ = false;
  std::unordered_map<std::string, std::shared_ptr<Cluster>> clusters_;
  std::unordered_map<const Destination*, std::shared_ptr<Cluster>> found_;  // of the plan in force
  // Of the plan in force, by route, host and status.
  std::map<std::tuple<const char*, const char*, unsigned>, observe::Metrics::Requests> counted_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;  // all
  std::vector<Exchange*> idle_exchanges_;
  std::string date_;
  std::uint64_t date_s_ = 0;
  std::uint64_t picks_;
  GuestList guests_;  // behind all that they refer to
};

}  // namespace sluice::ingress

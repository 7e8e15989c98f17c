// The keeper of the node's interfaces: attaches the programs to pods' interfaces and uplinks as they come, and tells
// the kernel and the workers which pod is behind which interface and address, as links, addresses and routes change.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "identity/pod.h"
#include "kernel/interception.h"
#include "net/netlink.h"
#include "serving/fd_watch.h"
#include "serving/status.h"
#include "settings/settings.h"

namespace sluice::egress {

enum class InterfaceKind : std::uint8_t {
  other,
  pod,
  uplink,
  both,  // the patterns contradict each other: it is left alone, and the guard treats it as a pod's
};
InterfaceKind classify(const std::string& name, const settings::Interception& settings);

// What is never internal: the gateways' addresses.
std::vector<Cidr> guarded_ranges(const settings::AgentSettings& settings);
// What is: the ranges of the settings and the node's own addresses, without what is guarded.
std::vector<Cidr> internal_ranges(const settings::AgentSettings& settings, const std::vector<Cidr>& local);

// Belongs to the control loop's thread.
class Interfaces {
 public:
  struct Handlers {
    // Who is who from now on.
    std::function<void(std::shared_ptr<const identity::PodTable>)> publish;
    // Somebody changed routes or rules of the node.
    std::function<void()> routes_changed;
  };

  // Everything that is there is attached, and published, when this returns. What cannot be done is wrong() and is tried
  // again by retry().
  Interfaces(boost::asio::io_context& control, const settings::AgentSettings& settings, kernel::Interception& kernel,
             Handlers handlers);
  ~Interfaces();
  Interfaces(const Interfaces&) = delete;
  Interfaces& operator=(const Interfaces&) = delete;

  // What the API server says now: `pods` of this node, null: it is to be heard yet; `internal` besides the settings'.
  void learn(std::shared_ptr<const std::vector<settings::Pod>> pods, std::shared_ptr<const std::vector<Cidr>> internal);
  // Does again what failed; to be called every second.
  void retry();

  const identity::PodTable& pods() const { return *pods_; }
  // Does mode audit hold for what comes from this interface?
  bool is_audited(unsigned ifindex) const;
  std::vector<serving::InterfaceView> views() const;
  std::vector<std::string> wrong() const;

 private:
  struct Interface {
    std::string name;
    InterfaceKind kind = InterfaceKind::other;
    std::optional<std::string> failure;         // of attaching
    std::optional<kernel::PodInterface> known;  // what the kernel was told last
    bool listed = true;                         // seen by the present watch
  };

  void open_watch();
  void dispatch();
  void lose_watch(const Error& error);

  void add(const net::Link& link);
  void remove(unsigned ifindex);
  void attach(unsigned ifindex, Interface& interface);
  void forget_strangers();

  // Works out anew who is who and what is internal: at once, or a little later when that was just done.
  void resolve_soon();
  void resolve();
  void resolve_internal();
  std::vector<settings::Pod> all_pods() const;
  identity::Pod resolve_pod(const settings::Pod& settings);
  unsigned find_interface(const settings::Pod& settings);
  std::vector<IpAddress> addresses_of(unsigned ifindex);
  void tell_kernel(unsigned ifindex, Interface& interface);

  const settings::AgentSettings& settings_;
  kernel::Interception& kernel_;
  Handlers handlers_;
  boost::asio::io_context& control_;
  boost::asio::steady_timer later_;
  std::unique_ptr<net::NetlinkWatch> watch_;
  std::optional<serving::FdWatch> readable_;
  std::map<unsigned, Interface> interfaces_;
  std::shared_ptr<const identity::PodTable> pods_ = std::make_shared<identity::PodTable>(std::vector<identity::Pod>());
  std::shared_ptr<const std::vector<settings::Pod>> told_pods_;  // by the API server
  std::shared_ptr<const std::vector<Cidr>> told_internal_;
  std::optional<std::vector<Cidr>> internal_;    // what the kernel was told last
  std::map<std::string, std::string> failures_;  // by what failed, besides attaching
  std::uint64_t resolved_ns_ = 0;
  bool stale_ = false;    // something changed since resolve()
  bool waiting_ = false;  // later_ is set
};

}  // namespace sluice::egress

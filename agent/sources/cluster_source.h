// What the API server says of the cluster itself: the pods of a node, what addresses are internal, Services with their
// endpoints, and single Secrets.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "policy/service.h"
#include "settings/settings.h"

namespace sluice::sources {

// What is asked for.
struct ClusterWants {
  std::string pods_of;       // a node's name; empty: none
  bool node_ranges = false;  // of all nodes
  bool services = false;     // of all namespaces
  std::string secrets_in;    // a namespace: those that want_secrets() names; empty: none
};

// Bytes by name and key.
using Secrets = std::map<std::string, std::map<std::string, std::string>>;

// What is known, each part null until it was listed whole, or when nobody asked for it. Immutable.
struct Cluster {
  std::shared_ptr<const std::vector<settings::Pod>> pods;  // that have addresses of their own
  std::vector<std::string> host_network_pods;              // "namespace/name"
  std::shared_ptr<const std::vector<Cidr>> node_ranges;    // pods' and nodes', each once
  std::shared_ptr<const std::vector<Service>> services;
  std::shared_ptr<const Secrets> secrets;  // those of the wanted that exist
  std::vector<std::string> wrong;          // what cannot be read, since when, and why
};

// Belongs to the thread of its io_context.
class ClusterSource {
 public:
  // Asks as soon as the loop turns. `changed` is called, often many times in a row, when look() would say something
  // else, until this goes.
  static Result<std::unique_ptr<ClusterSource>> start(boost::asio::io_context& context,
                                                      const settings::Kubernetes& settings, const ClusterWants& wants,
                                                      std::function<void()> changed);
  ~ClusterSource();
  ClusterSource(const ClusterSource&) = delete;
  ClusterSource& operator=(const ClusterSource&) = delete;

  // Each is watched by itself, so that no right to read others is needed.
  void want_secrets(const std::set<std::string>& names);

  // Parts that did not change are the same as the last time.
  Cluster look();

 private:
  struct State;
  explicit ClusterSource(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

}  // namespace sluice::sources

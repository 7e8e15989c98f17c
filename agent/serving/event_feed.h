// What goes wrong, as Events of the API server, so that `kubectl describe` tells of it: calls of a pod that were
// denied, and a node that is not all right.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "kube/event.h"
#include "net/socket.h"
#include "observe/audit.h"
#include "settings/settings.h"
#include "sources/api_connection.h"
#include "sources/api_server.h"

namespace sluice::serving {

// Thread-safe. Nobody waits for the API server but a thread of its own; what it does not take in ten minutes is
// dropped.
class EventFeed {
 public:
  // `component` and `node` are the Events' source.
  static Result<std::unique_ptr<EventFeed>> start(const settings::Kubernetes& settings, const std::string& component,
                                                  const std::string& node);
  ~EventFeed();
  EventFeed(const EventFeed&) = delete;
  EventFeed& operator=(const EventFeed&) = delete;

  // A deny record. Those of no known pod, and those of what only would be denied, are no Events.
  void denied(const observe::Record& record);
  // All that is wrong with the node now, to be called every second or so. What stays so for five seconds is an Event of
  // the Node.
  void set_wrong(const std::vector<std::string>& lines);

  std::uint64_t dropped() const;

 private:
  EventFeed(const std::string& component, const std::string& node);

  // On its own thread.
  net::Task<void> run();
  net::Task<void> send(kube::EventRequest request);

  const std::string node_;
  mutable std::mutex mutex_;
  kube::EventTable table_;  // under the mutex
  struct Wrong {
    std::uint64_t since_ns = 0;
    bool told = false;
  };
  std::map<std::string, Wrong> wrong_;  // the same

  boost::asio::io_context context_{1};
  std::unique_ptr<sources::ApiServer> server_;
  std::unique_ptr<sources::ApiConnection> connection_;
  std::string trouble_;
  std::thread thread_;
};

}  // namespace sluice::serving

// What a role says of itself, as plain values; the admin surface turns them into JSON over HTTP.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "observe/audit.h"
#include "resources/document.h"
#include "serving/live.h"
#include "settings/settings.h"

namespace sluice::serving {

struct InterfaceView {
  std::string name;
  unsigned ifindex = 0;
  std::string kind;  // "pod" or "uplink"
  std::string pod;   // "namespace/name"; empty: not known
};

struct PolicyView {
  std::uint64_t generation = 0;  // 0: none yet
  std::size_t services = 0;
  std::size_t hosts = 0;
  std::vector<resources::Problem> problems;
};

struct StatusView {
  std::string role;
  std::string node;
  std::string version;
  std::vector<std::string> wrong;  // what needs somebody to look at it; empty: healthy
  std::uint64_t uptime_s = 0;
  PolicyView policy;
  std::vector<InterfaceView> interfaces;
  std::int64_t connections_open = 0;
  std::map<std::string, std::uint64_t> verdicts;
  std::map<std::string, std::uint64_t> reasons;  // those that occurred
  observe::AuditState audit;
};

// Where the admin surface's answers come from; called on the control loop.
struct RoleViews {
  std::function<StatusView()> status;
  std::function<std::vector<Flow>()> flows;
  std::function<std::string()> metrics;                   // Prometheus text
  std::function<std::optional<std::string>()> not_ready;  // why; nullopt: ready
};

// Serves `views` where `admin` says for as long as the result lives. The composition root gives it to the
// roles, which know nothing of HTTP.
using ServeAdmin = std::function<Result<std::shared_ptr<void>>(boost::asio::io_context& control,
                                                               const settings::Admin& admin, RoleViews views)>;

}  // namespace sluice::serving

#include "egress/release.h"

#include <algorithm>
#include <utility>

#include "egress/audit_mode.h"
#include "egress/flow_end.h"
#include "egress/kernel_denial.h"
#include "egress/known_pods.h"
#include "kernel/abi_version.h"
#include "kernel/pins.h"

namespace sluice::egress {
namespace {

using State = kernel::FlowState;

constexpr std::size_t records_at_once = 1024;

}  // namespace

Result<std::unique_ptr<ReleaseLog>> ReleaseLog::open(const settings::AgentSettings& settings,
                                                     const std::string& version) {
  auto audit = observe::AuditLog::open(settings.audit, settings.node.name, "agent");
  if (!audit) return audit.error().in("audit");
  return std::unique_ptr<ReleaseLog>(new ReleaseLog(settings, version, std::move(*audit)));
}

ReleaseLog::ReleaseLog(const settings::AgentSettings& settings, const std::string& version,
                       std::unique_ptr<observe::AuditLog> audit)
    : settings_(settings),
      audit_(std::move(audit)),
      metrics_("agent", settings.node.name, version),
      recorder_(*audit_, metrics_, settings.limits.denials_per_second),
      gateways_(settings.egress),
      pods_(std::make_shared<identity::PodTable>(known_pods(settings))) {}

Result<std::unique_ptr<Release>> Release::open(const std::string& bpffs, ReleaseLog* log) {
  if (auto fits = kernel::check_abi_version(kernel::maps_directory(bpffs)); !fits) return fits.error();
  auto kernel = kernel::Interception::open({.bpffs = bpffs, .cgroup = {}, .release = true});
  if (!kernel) return kernel.error();
  const auto ifindex = net::make_injection_link();
  if (!ifindex) return ifindex.error();
  if (auto done = (*kernel)->attach_helper(*ifindex); !done) return done.error();
  auto injector = net::Injector::open(*ifindex);
  if (!injector) return injector.error();
  return std::unique_ptr<Release>(new Release(std::move(*kernel), std::move(*injector), log));
}

Release::Release(std::unique_ptr<kernel::Interception> kernel, net::Injector injector, ReleaseLog* log)
    : kernel_(std::move(kernel)), injector_(std::move(injector)), log_(log) {
  if (log_ == nullptr) return;
  const Node node{log->settings_, *kernel_, log->recorder_, log->gateways_, nullptr, nullptr};
  records_ = std::make_unique<Records>(node, kernel_->flows(), injector_, log->pods_);
}

Release::Records::Records(const Node& of, kernel::Flows& flows, net::Injector& injector,
                          std::shared_ptr<const identity::PodTable> pods)
    : node(of), desk{node, flows, injector, Turn(flows, node.recorder), {}, {}, nullptr, std::move(pods)} {
  desk.past.read(node.recorder);
}

// The kernel does the same with what is shown to nobody (bpf/from_pod.h); whoever is faster has done it.
void Release::abandon(const kernel::Flow& flow) {
  const bool judged = flow.state == State::allowed;
  if (!records_) {
    stop_flow(kernel_->flows(), injector_, flow, judged ? Cut::detached : cut_for(Reason::policy_not_ready));
    return;
  }
  if (judged) {
    cut_flow(records_->desk, flow, Cut::detached);
  } else {
    auto call = std::make_unique<GatedCall>(records_->desk, flow, false);
    call->abandon();
    records_->calls.push_back(std::move(call));
  }
  commit(false);
}

void Release::end(const kernel::Flow& flow) {
  if (!records_ || flow.recorded) return;
  end_flow(records_->desk, flow, {});
  commit(false);
}

void Release::commit(bool all) {
  if (!records_ || (!all && ++records_->begun < records_at_once)) return;
  records_->desk.turn.commit();
  records_->calls.clear();
  records_->begun = 0;
}

std::size_t Release::look() {
  std::size_t open = 0;
  for (const auto& flow : kernel_->flows().all()) {
    switch (flow.state) {
      case State::opening:
      case State::held:
      case State::judging:
      case State::allowed:
        abandon(flow);
        break;
      case State::open:
        ++open;
        break;
      case State::denied:
      case State::ended:
        end(flow);
        break;
      case State::collected:
      case State::gone:
        break;
    }
  }
  commit(true);  // what is recorded is not found once more among these
  for (const auto& flow : kernel_->flows().replaced()) end(flow);
  commit(true);
  return open;
}

std::size_t Release::cut() {
  std::size_t count = 0;
  for (const auto& flow : kernel_->flows().all()) {
    if (flow.state != State::open) continue;
    const bool done = records_ ? cut_flow(records_->desk, flow, Cut::detached)
                               : stop_flow(kernel_->flows(), injector_, flow, Cut::detached).has_value();
    if (done) ++count;
    commit(false);
  }
  commit(true);
  return count;
}

std::size_t Release::finish() {
  if (records_) {
    for (const auto& count : kernel_->take_counts()) {
      const auto* pod = log_->pods_->by_interface(count.ifindex);
      const bool audited = is_audited(log_->settings_.egress, pod ? pod->namespace_name : std::string());
      log_->recorder_.denied_in_sum(to_record(count, *log_->pods_, audited));
    }
    log_->recorder_.flush();
  }
  const auto flows = kernel_->flows().all();
  const auto unrecorded = std::count_if(flows.begin(), flows.end(), [](const kernel::Flow& flow) {
    return flow.state < State::collected && !flow.recorded;
  });
  const auto dropped = log_ != nullptr ? log_->audit_->state().drops : 0;
  return static_cast<std::size_t>(unrecorded) + kernel_->flows().replaced().size() + dropped;
}

}  // namespace sluice::egress

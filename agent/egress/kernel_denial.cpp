#include "egress/kernel_denial.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include "serving/facts.h"

namespace sluice::egress {
namespace {

constexpr std::uint8_t not_ip = 255;

std::string protocol_name(std::uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_ICMP:
      return "icmp";
    case IPPROTO_ICMPV6:
      return "icmpv6";
    case not_ip:
      return "not ip";
    default:
      return fmt::format("ip/{}", protocol);
  }
}

observe::Record make_record(unsigned ifindex, Reason reason, bool passed, const identity::PodTable& pods) {
  observe::Record record;
  record.event = observe::Event::deny;
  record.verdict = passed ? observe::Decision::would_deny : observe::Decision::deny;
  record.reason = reason;
  record.datapath = "kernel";
  if (const auto* pod = pods.by_interface(ifindex)) record.pod = serving::pod_facts(*pod);
  return record;
}

}  // namespace

observe::Record to_record(const kernel::Denial& denial, const identity::PodTable& pods) {
  auto record = make_record(denial.ifindex, denial.reason, denial.audit, pods);
  record.protocol = protocol_name(denial.protocol);
  if (denial.protocol != not_ip) {
    record.source = denial.source;
    record.destination = denial.destination;
  }
  if (denial.owner) {
    record.process = {denial.owner->pid, denial.owner->comm, {}, {}, denial.owner->cgroup_id};
  }
  if (denial.guard) record.detail = "at the uplink: it got past the pod's interface";
  return record;
}

observe::Record to_record(const kernel::DenialCount& count, const identity::PodTable& pods, bool audited) {
  auto record = make_record(count.ifindex, count.reason, audited, pods);
  record.count = count.count;
  return record;
}

}  // namespace sluice::egress

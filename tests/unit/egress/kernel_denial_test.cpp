#include "egress/kernel_denial.h"

#include <gtest/gtest.h>

#include <netinet/in.h>

namespace sluice::egress {
namespace {

constexpr unsigned veth = 7;

identity::PodTable one_pod() {
  identity::Pod pod;
  pod.namespace_name = "my-namespace";
  pod.name = "a";
  pod.uid = "uid-a";
  pod.service_account = "default";
  pod.addresses = {*IpAddress::parse("10.1.0.10")};
  pod.ifindex = veth;
  return identity::PodTable({pod});
}

kernel::Denial refused(std::uint8_t protocol) {
  kernel::Denial denial;
  denial.ifindex = veth;
  denial.source = *Endpoint::parse("10.1.0.10:5000");
  denial.destination = *Endpoint::parse("203.0.113.7:53");
  denial.protocol = protocol;
  denial.reason = Reason::udp_not_allowed;
  return denial;
}

TEST(KernelDenial, tells_who_called_whom_and_why_it_was_refused) {
  const auto record = to_record(refused(IPPROTO_UDP), one_pod());
  EXPECT_EQ(record.event, observe::Event::deny);
  EXPECT_EQ(record.verdict, observe::Decision::deny);
  EXPECT_EQ(record.reason, Reason::udp_not_allowed);
  EXPECT_EQ(record.datapath, "kernel");
  EXPECT_EQ(record.protocol, "udp");
  ASSERT_TRUE(record.pod);
  EXPECT_EQ(record.pod->namespace_name, "my-namespace");
  EXPECT_EQ(record.pod->name, "a");
  EXPECT_EQ(record.pod->uid, "uid-a");
  EXPECT_EQ(record.pod->service_account, "default");
  EXPECT_EQ(record.source, Endpoint::parse("10.1.0.10:5000"));
  EXPECT_EQ(record.destination, Endpoint::parse("203.0.113.7:53"));
  EXPECT_EQ(record.process.pid, 0);
  EXPECT_EQ(record.detail, "");
}

TEST(KernelDenial, names_protocols) {
  const auto name = [](std::uint8_t protocol) { return to_record(refused(protocol), one_pod()).protocol; };
  EXPECT_EQ(name(IPPROTO_TCP), "tcp");
  EXPECT_EQ(name(IPPROTO_ICMP), "icmp");
  EXPECT_EQ(name(IPPROTO_ICMPV6), "icmpv6");
  EXPECT_EQ(name(132), "ip/132");
}

TEST(KernelDenial, has_no_addresses_for_what_is_not_ip) {
  const auto record = to_record(refused(255), one_pod());
  EXPECT_EQ(record.protocol, "not ip");
  EXPECT_FALSE(record.source);
  EXPECT_FALSE(record.destination);
}

TEST(KernelDenial, is_would_deny_when_the_packet_passed) {
  auto denial = refused(IPPROTO_UDP);
  denial.audit = true;
  EXPECT_EQ(to_record(denial, one_pod()).verdict, observe::Decision::would_deny);
}

TEST(KernelDenial, names_the_process_that_connected) {
  auto denial = refused(IPPROTO_TCP);
  denial.owner = kernel::Owner{42, "curl", 99};
  const auto record = to_record(denial, one_pod());
  EXPECT_EQ(record.process.pid, 42);
  EXPECT_EQ(record.process.comm, "curl");
  EXPECT_EQ(record.process.cgroup_id, 99U);
}

TEST(KernelDenial, says_when_only_the_uplink_stopped_it) {
  auto denial = refused(IPPROTO_TCP);
  denial.guard = true;
  EXPECT_NE(to_record(denial, one_pod()).detail.find("uplink"), std::string::npos);
}

TEST(KernelDenial, of_an_unknown_interface_has_no_pod) {
  auto denial = refused(IPPROTO_TCP);
  denial.ifindex = veth + 1;
  EXPECT_FALSE(to_record(denial, one_pod()).pod);
}

TEST(KernelDenial, stands_for_as_many_packets_as_were_counted) {
  const kernel::DenialCount count{veth, Reason::port_not_registered, 1234};
  const auto record = to_record(count, one_pod(), false);
  EXPECT_EQ(record.count, 1234U);
  EXPECT_EQ(record.reason, Reason::port_not_registered);
  EXPECT_EQ(record.verdict, observe::Decision::deny);
  EXPECT_EQ(record.pod->name, "a");
  EXPECT_EQ(to_record(count, one_pod(), true).verdict, observe::Decision::would_deny);
}

}  // namespace
}  // namespace sluice::egress

// Claims about real connections of a pod: refused at once, relayed with their original destination, told with their
// owner.
#include <gmock/gmock.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "support/node.h"

namespace sluice::test {
namespace {

class Live : public Node {
 protected:
  struct Family {
    const char* name;
    IpAddress pod;
    IpAddress outside;
    const UniqueFd& listener;
  };
  std::array<Family, 2> families() const {
    return {Family{"IPv4", pod4, outside4, v4_}, Family{"IPv6", pod6, outside6, v6_}};
  }
  void expect_relayed(const Family& family) const {
    const auto attempt = pod_connects({family.outside, 443});
    ASSERT_EQ(attempt.error, 0) << std::strerror(attempt.error);
    const auto accepted = accept_from(family.listener);
    ASSERT_TRUE(accepted);
    EXPECT_EQ(local_endpoint(accepted->get()), (Endpoint{family.outside, 443}));
    EXPECT_EQ(peer_endpoint(accepted->get()), local_endpoint(attempt.fd.get()));
    send_text(attempt.fd.get(), "question");
    EXPECT_EQ(receive_text(accepted->get()), "question");
    send_text(accepted->get(), "answer");
    EXPECT_EQ(receive_text(attempt.fd.get()), "answer");
  }
  void expect_datagram_refused(const Endpoint& to) const {
    const auto socket = pod_datagrams(to);
    send_text(socket.get(), "datagram");
    EXPECT_EQ(receive_text(socket.get(), at_once_ms), std::strerror(ECONNREFUSED));
  }
};

TEST_F(Live, a_connection_to_an_unregistered_port_is_refused_at_once) {
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_refused_at_once(pod_connects({family.outside, 22}));
  }
}

TEST_F(Live, a_connection_to_a_registered_port_reaches_the_listener_with_its_destination) {
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_relayed(family);
  }
}

TEST_F(Live, connections_spread_over_the_listeners) {
  const auto second = listen_on(endpoint("127.0.0.1:0"), true);
  done(kernel_->set_listeners(std::array{v4_.get(), second.get()}, {}));
  std::vector<UniqueFd> clients;
  int first_got = 0;
  int second_got = 0;
  for (int n = 0; n < 40; ++n) {
    auto attempt = pod_connects({outside4, 443});
    ASSERT_EQ(attempt.error, 0);
    clients.push_back(std::move(attempt.fd));
    first_got += accept_from(v4_, 0) ? 1 : 0;
    second_got += accept_from(second, 0) ? 1 : 0;
  }
  EXPECT_EQ(first_got + second_got, 40);
  EXPECT_GT(first_got, 0);
  EXPECT_GT(second_got, 0);
}

TEST_F(Live, a_closed_listener_refuses_at_once) {
  v4_.reset();
  v6_.reset();
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_refused_at_once(pod_connects({family.outside, 443}));
  }
}

TEST_F(Live, a_stale_heartbeat_refuses_new_connections_and_leaves_open_ones) {
  const auto open = pod_connects({outside4, 443});
  ASSERT_EQ(open.error, 0);
  const auto accepted = accept_from(v4_);
  ASSERT_TRUE(accepted);
  lab_.map<std::uint32_t, std::uint64_t>("heartbeats").put(0, 1);
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_refused_at_once(pod_connects({family.outside, 443}));
  }
  send_text(open.fd.get(), "still here");
  EXPECT_EQ(receive_text(accepted->get()), "still here");
  kernel_->beat();
  expect_relayed(families()[0]);
}

TEST_F(Live, a_dead_agent_leaves_everything_refused_at_once) {
  const auto server = outside_listener({outside4, 443});
  const auto receiver = outside_datagrams({outside4, 53});
  agent_dies();
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_refused_at_once(pod_connects({family.outside, 443}));
    expect_refused_at_once(pod_connects({family.outside, 22}));
    expect_datagram_refused({family.outside, 53});
  }
  EXPECT_FALSE(accept_from(server, 0));
  EXPECT_EQ(receive_text(receiver.get(), 0), "nothing");
}

TEST_F(Live, a_new_agent_finds_the_denials_that_nobody_read) {
  agent_dies();
  expect_refused_at_once(pod_connects({outside4, 443}));
  kernel_ = lab_.open(cgroup_.path());
  const auto told = denials();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].reason, Reason::policy_not_ready);
}

TEST_F(Live, the_owner_of_a_connection_is_its_process) {
  ASSERT_EQ(::prctl(PR_SET_NAME, "caller"), 0);
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    const auto attempt = pod_connects({family.outside, 443});
    ASSERT_EQ(attempt.error, 0);
    const auto owner = kernel_->take_owner(local_endpoint(attempt.fd.get()), {family.outside, 443});
    ASSERT_TRUE(owner);
    EXPECT_EQ(owner->pid, ::getpid());
    EXPECT_EQ(owner->comm, "caller");
    EXPECT_EQ(owner->cgroup_id, cgroup_.id());
    EXPECT_FALSE(kernel_->take_owner(local_endpoint(attempt.fd.get()), {family.outside, 444}));
  }
}

TEST_F(Live, the_owner_of_a_connection_is_known_after_its_end_and_told_once) {
  const PinnedMap<sluice_tuple, std::uint64_t> conns(lab_.map_pin("conns"));
  const PinnedMap<std::uint64_t, sluice_process> processes(lab_.map_pin("processes"));
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    auto attempt = pod_connects({family.outside, 443});
    ASSERT_EQ(attempt.error, 0);
    const auto source = local_endpoint(attempt.fd.get());
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    ASSERT_EQ(::setsockopt(attempt.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    attempt.fd.reset();
    const auto owner = kernel_->take_owner(source, {family.outside, 443});
    ASSERT_TRUE(owner);
    EXPECT_EQ(owner->pid, ::getpid());
    EXPECT_FALSE(kernel_->take_owner(source, {family.outside, 443}));
    EXPECT_TRUE(conns.keys().empty());
    EXPECT_TRUE(processes.keys().empty());
  }
}

TEST_F(Live, without_a_cgroup_the_owner_is_unknown) {
  kernel_.reset();
  kernel_ = lab_.open();
  kernel_->beat();
  done(kernel_->set_ports({any_address(443)}));
  const auto attempt = pod_connects({outside4, 443});
  ASSERT_EQ(attempt.error, 0);
  EXPECT_FALSE(kernel_->take_owner(local_endpoint(attempt.fd.get()), {outside4, 443}));
}

TEST_F(Live, a_refused_connection_is_told_with_its_owner) {
  ASSERT_EQ(::prctl(PR_SET_NAME, "caller"), 0);
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_refused_at_once(pod_connects({family.outside, 22}));
    const auto told = denials();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].ifindex, pod_if_);
    EXPECT_EQ(told[0].source.address, family.pod);
    EXPECT_EQ(told[0].destination, (Endpoint{family.outside, 22}));
    EXPECT_EQ(told[0].reason, Reason::port_not_registered);
    ASSERT_TRUE(told[0].owner);
    EXPECT_EQ(told[0].owner->pid, ::getpid());
    EXPECT_EQ(told[0].owner->comm, "caller");
  }
}

TEST_F(Live, a_refused_datagram_is_told_to_its_socket_and_with_its_owner) {
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_datagram_refused({family.outside, 443});
    const auto told = denials();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].reason, Reason::udp_not_allowed);
    ASSERT_TRUE(told[0].owner);
    EXPECT_EQ(told[0].owner->pid, ::getpid());
  }
}

TEST_F(Live, an_allowed_datagram_arrives_and_is_answered) {
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    const auto server = outside_datagrams({family.outside, 123});
    const auto client = pod_datagrams({family.outside, 123});
    send_text(client.get(), "question");
    EXPECT_EQ(receive_text(server.get()), "question");
    const auto to = to_socket_address({family.pod, local_endpoint(client.get()).port});
    ASSERT_EQ(::sendto(server.get(), "answer", 6, 0, to.raw(), to.size), 6);
    EXPECT_EQ(receive_text(client.get()), "answer");
  }
}

TEST_F(Live, in_mode_audit_whole_connections_pass_and_are_told_once) {
  done(kernel_->set_pod(pod_if_, {.addresses = {pod4, pod6}, .audit = true}));
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    const auto server = outside_listener({family.outside, 22});
    const auto attempt = pod_connects({family.outside, 22});
    ASSERT_EQ(attempt.error, 0) << std::strerror(attempt.error);
    const auto accepted = accept_from(server);
    ASSERT_TRUE(accepted);
    send_text(attempt.fd.get(), "question");
    EXPECT_EQ(receive_text(accepted->get()), "question");
    send_text(accepted->get(), "answer");
    EXPECT_EQ(receive_text(attempt.fd.get()), "answer");
    const auto told = denials();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].reason, Reason::port_not_registered);
    EXPECT_TRUE(told[0].audit);
    expect_relayed(family);
  }
}

TEST_F(Live, an_interface_that_nothing_is_attached_to_is_stopped_at_the_uplink) {
  done(kernel_->forget(pod_if_));
  const auto receiver = outside_datagrams({outside4, 123});
  const auto sender = pod_datagrams({outside4, 123});
  send_text(sender.get(), "too early");
  const auto told = denials();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].guard);
  EXPECT_EQ(told[0].ifindex, pod_if_);
  EXPECT_EQ(receive_text(receiver.get(), 0), "nothing");
}

TEST_F(Live, a_pod_answers_connections_from_outside) {
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    UniqueFd server;
    {
      const Inside pod(pod_);
      server = listen_on({family.pod, 8080});
    }
    Attempt attempt;
    {
      const Inside outside(outside_);
      attempt = try_connect({family.pod, 8080});
    }
    ASSERT_EQ(attempt.error, 0) << std::strerror(attempt.error);
    const auto accepted = accept_from(server);
    ASSERT_TRUE(accepted);
    send_text(accepted->get(), "welcome");
    EXPECT_EQ(receive_text(attempt.fd.get()), "welcome");
  }
}

TEST_F(Live, the_nodes_own_listeners_are_not_taken_over) {
  const auto own = listen_on(endpoint("10.1.0.1:443"));
  const auto attempt = pod_connects(endpoint("10.1.0.1:443"));
  ASSERT_EQ(attempt.error, 0);
  EXPECT_TRUE(accept_from(own));
  EXPECT_FALSE(accept_from(v4_, 0));
}

void switch_checksum_offload_off(const char* device) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_value value{ETHTOOL_STXCSUM, 0};
  ifreq request{};
  std::strncpy(request.ifr_name, device, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&value);
  must(::ioctl(fd.get(), SIOCETHTOOL, &request) == 0, "switch checksum offload off");
}

TEST_F(Live, without_checksum_offload_in_the_pod_nothing_is_different) {
  {
    const Inside pod(pod_);
    switch_checksum_offload_off("eth0");
  }
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_refused_at_once(pod_connects({family.outside, 22}));
    expect_datagram_refused({family.outside, 443});
    expect_relayed(family);
  }
}

TEST_F(Live, without_checksum_offload_on_the_node_connections_are_refused_and_relayed_alike) {
  switch_checksum_offload_off("pod0");
  for (const auto& family : families()) {
    SCOPED_TRACE(family.name);
    expect_refused_at_once(pod_connects({family.outside, 22}));
    expect_relayed(family);
  }
}

// The socket that sends the SYN is not the one that connect(2) was called on.
TEST_F(Live, a_multipath_connection_is_refused_and_told_like_any_other) {
  int error = 0;
  {
    const Inside pod(pod_);
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP));
    const auto to = to_socket_address({outside4, 22});
    if (::connect(fd.get(), to.raw(), to.size) != 0) error = errno;
  }
  EXPECT_EQ(error, ECONNREFUSED) << std::strerror(error);
  const auto told = denials();
  ASSERT_EQ(told.size(), 1U);
  ASSERT_TRUE(told[0].owner);
  EXPECT_EQ(told[0].owner->pid, ::getpid());
}

TEST_F(Live, programs_of_others_behind_ours_are_run) {
  const auto server = outside_datagrams({outside4, 123});
  const auto client = pod_datagrams({outside4, 123});
  send_text(client.get(), "before");
  ASSERT_EQ(receive_text(server.get()), "before");
  const std::array<bpf_insn, 2> drop_all = {bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 2},
                                            bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd program(
      ::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "foreign", "GPL", drop_all.data(), drop_all.size(), nullptr));
  const UniqueFd link(::bpf_link_create(program.get(), static_cast<int>(pod_if_), tcx_ingress, nullptr));
  ASSERT_TRUE(link);
  send_text(client.get(), "after");
  EXPECT_EQ(receive_text(server.get(), 200), "nothing");
}

TEST_F(Live, a_tagged_frame_is_dropped) {
  const auto inner = ipv4(pod4, outside4, udp, udp_datagram({pod4, 4000}, {outside4, 123}));
  pod_sends_frame(ethernet(ethertype_vlan, vlan_tag(7, ethertype_ipv4, inner)));
  const auto told = denials();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].reason, Reason::protocol_not_allowed);
}

TEST_F(Live, a_frame_that_is_cut_anywhere_is_dropped) {
  const auto receiver = outside_datagrams({outside4, 123});
  const auto whole4 = udp_frame({pod4, 4000}, {outside4, 123}, text("x"));
  const auto whole6 = udp_frame({pod6, 4000}, {outside6, 123}, text("x"));
  for (const auto& whole : {whole4, whole6}) {
    for (std::size_t size = 15; size < whole.size(); ++size) {
      SCOPED_TRACE(size);
      pod_sends_frame(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
      const auto told = denials();
      ASSERT_EQ(told.size(), 1U);
      EXPECT_EQ(told[0].reason, Reason::protocol_not_allowed);
    }
  }
  EXPECT_EQ(receive_text(receiver.get(), 0), "nothing");
}

}  // namespace
}  // namespace sluice::test

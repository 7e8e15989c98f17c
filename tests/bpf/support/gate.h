// A node with one pod and one uplink, whose programs are run on crafted packets.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <string>

#include "support/opened.h"
#include "support/packet.h"
#include "support/run.h"

namespace sluice::test {

inline UniqueFd make_listener(int family) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  must(fd && ::listen(fd.get(), 8) == 0, "listen");
  return fd;
}

// What became of one packet.
struct Verdict {
  int action = 0;
  std::uint32_t mark = 0;
  Bytes packet;
  std::vector<kernel::Denial> denials;
};

// Inside are 10.0.0.0/8 and fd00::/8 without the gateway 10.0.0.99, fd00::99. Registered are TCP 443 to any address,
// TCP 5432 to 203.0.113.0/24 and 2001:db8::/64, UDP 123 to the same.
class Gate : public ::testing::Test {
 protected:
  static inline const IpAddress pod4 = ip("10.1.0.2");
  static inline const IpAddress pod6 = ip("fd01::2");
  static inline const IpAddress outside4 = ip("203.0.113.5");
  static inline const IpAddress outside6 = ip("2001:db8::5");

  Gate() {
    ip_command({"link", "add", "pod0", "type", "veth", "peer", "name", "eth0"});
    ip_command({"link", "add", "up0", "type", "veth", "peer", "name", "up1"});
    pod_ = ifindex("pod0");
    uplink_ = ifindex("up0");
    must_be_done(kernel_->attach_pod(pod_, "pod0"));
    must_be_done(kernel_->attach_uplink(uplink_, "up0"));
    know_pod(false);
    must_be_done(kernel_->set_internal(cidrs({"10.0.0.0/8", "fd00::/8"}), cidrs({"10.0.0.99", "fd00::99"})));
    const auto outside = cidrs({"203.0.113.0/24", "2001:db8::/64"});
    must_be_done(kernel_->set_udp_rules({{outside[0], 123}, {outside[1], 123}}));
    must_be_done(kernel_->set_ports({any_address(443), by_address(5432, outside)}));
    listen();
    kernel_->beat();
    from_pod_ = program_of_link(lab_.link(pod_, "from_pod"));
    to_pod_ = program_of_link(lab_.link(pod_, "to_pod"));
    guard_ = program_of_link(lab_.link(uplink_, "uplink_guard"));
  }

  static void must_be_done(const Status& done) {
    if (!done) throw std::runtime_error(done.error().message());
  }
  void know_pod(bool audit) { must_be_done(kernel_->set_pod(pod_, {.addresses = {pod4, pod6}, .audit = audit})); }
  void listen() {
    v4_ = make_listener(AF_INET);
    v6_ = make_listener(AF_INET6);
    must_be_done(kernel_->set_listeners(std::array{v4_.get()}, std::array{v6_.get()}));
  }
  void stop_listening() {
    v4_.reset();
    v6_.reset();
  }
  void set_heartbeat(std::uint64_t beat_ns) const {
    lab_.map<std::uint32_t, std::uint64_t>("heartbeats").put(0, beat_ns);
  }

  Verdict run(int program, const Bytes& packet, const Skb& skb) {
    auto outcome = run_program(program, packet, skb);
    Verdict verdict{outcome.action, outcome.mark, std::move(outcome.packet), {}};
    kernel_->read_denials(1000, [&](const kernel::Denial& denial) { verdict.denials.push_back(denial); });
    return verdict;
  }
  Verdict pod_sends(const Bytes& packet, std::uint32_t mark = 0) {
    return run(from_pod_.get(), packet, {.ifindex = pod_, .ingress_ifindex = pod_, .mark = mark});
  }
  Verdict pod_receives(const Bytes& packet, unsigned from) {
    return run(to_pod_.get(), packet, {.ifindex = pod_, .ingress_ifindex = from, .mark = 0});
  }
  Verdict leaves(const Bytes& packet, unsigned from, std::uint32_t mark = 0) {
    return run(guard_.get(), packet, {.ifindex = uplink_, .ingress_ifindex = from, .mark = mark});
  }

  // Claims about one packet that the pod sends.
  void passes_untouched(const std::string& what, const Bytes& packet) { goes_on_with(what, packet, 0); }
  void passes_out(const std::string& what, const Bytes& packet) { goes_on_with(what, packet, SLUICE_MARK_PASSED); }
  void is_relayed(const std::string& what, const Bytes& packet) { goes_on_with(what, packet, SLUICE_MARK_RELAY); }
  void is_denied(const std::string& what, const Bytes& packet, Reason reason, int action) {
    SCOPED_TRACE(what);
    const auto verdict = pod_sends(packet);
    EXPECT_EQ(verdict.action, action);
    ASSERT_EQ(verdict.denials.size(), 1U);
    EXPECT_EQ(to_string(verdict.denials[0].reason), to_string(reason));
    EXPECT_EQ(verdict.denials[0].ifindex, pod_);
    EXPECT_FALSE(verdict.denials[0].audit);
  }
  void is_dropped_for(const std::string& what, const Bytes& packet, Reason reason) {
    is_denied(what, packet, reason, is_dropped);
  }
  void is_refused_for(const std::string& what, const Bytes& packet, Reason reason) {
    is_denied(what, packet, reason, is_sent_back);
  }

  Lab lab_;
  std::unique_ptr<kernel::Interception> kernel_ = lab_.open();
  unsigned pod_ = 0;
  unsigned uplink_ = 0;
  UniqueFd v4_;
  UniqueFd v6_;
  UniqueFd from_pod_;
  UniqueFd to_pod_;
  UniqueFd guard_;

 private:
  void goes_on_with(const std::string& what, const Bytes& packet, std::uint32_t mark) {
    SCOPED_TRACE(what);
    const auto verdict = pod_sends(packet);
    EXPECT_EQ(verdict.action, goes_on);
    EXPECT_EQ(verdict.mark, mark);
    EXPECT_EQ(verdict.packet, packet);
    EXPECT_TRUE(verdict.denials.empty());
  }
};

}  // namespace sluice::test

// A node with a pod behind a veth and an outside behind an uplink, each a network namespace; packets really flow.
#pragma once

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>

#include <array>
#include <fstream>
#include <sstream>
#include <string>

#include "net/netlink.h"
#include "support/opened.h"
#include "support/packet.h"
#include "support/sockets.h"

namespace sluice::test {

inline UniqueFd make_namespace() {
  const auto here = current_namespace();
  auto made = enter_new_namespace();
  must(::setns(here.get(), CLONE_NEWNET) == 0, "setns");
  return made;
}

// A cgroup2 directory with this process in it.
class OwnCgroup {
 public:
  OwnCgroup() : path_(mount() + "/sluice-test-" + std::to_string(::getpid())) {
    // Those that a killed test left behind; one in use cannot be removed.
    for (const auto& entry : std::filesystem::directory_iterator(mount())) {
      if (entry.path().filename().string().starts_with("sluice-test-")) ::rmdir(entry.path().c_str());
    }
    must(::mkdir(path_.c_str(), 0700) == 0, path_);
    write_file(path_ + "/cgroup.procs", "0");
  }
  ~OwnCgroup() {
    write_file(mount() + "/cgroup.procs", "0");
    EXPECT_EQ(::rmdir(path_.c_str()), 0) << std::strerror(errno);
  }
  OwnCgroup(const OwnCgroup&) = delete;
  OwnCgroup& operator=(const OwnCgroup&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t id() const {
    struct stat info{};
    must(::stat(path_.c_str(), &info) == 0, "stat");
    return info.st_ino;
  }

 private:
  static std::string mount() {
    std::ifstream mounts("/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
      std::istringstream fields(line);
      std::string point;
      for (int field = 0; field < 5; ++field) fields >> point;
      if (line.find(" - cgroup2 ") != line.npos) return point;
    }
    throw std::runtime_error("no cgroup2 is mounted");
  }
  std::string path_;
};

// Registered are TCP 443 to any address and UDP 123 to 203.0.113.5 and 2001:db8::5, two addresses outside.
class Node : public ::testing::Test {
 protected:
  static inline const IpAddress pod4 = ip("10.1.0.2");
  static inline const IpAddress pod6 = ip("fd01::2");
  static inline const IpAddress outside4 = ip("203.0.113.5");
  static inline const IpAddress outside6 = ip("2001:db8::5");

  Node() {
    connect_namespaces();
    write_file("/proc/sys/net/ipv4/ip_forward", "1");
    write_file("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    uplink_ = ifindex("up0");
    pod_if_ = ifindex("pod0");
    done(kernel_->attach_uplink(uplink_, "up0"));
    done(kernel_->attach_pod(pod_if_, "pod0"));
    done(kernel_->set_pod(pod_if_, {.addresses = {pod4, pod6}}));
    done(kernel_->set_internal(cidrs({"10.0.0.0/8", "fd00::/8", "198.51.100.0/24"}), {}));
    done(kernel_->set_udp_rules({{*Cidr::parse("203.0.113.5"), 123}, {*Cidr::parse("2001:db8::5"), 123}}));
    done(kernel_->set_inbound_replies(true));
    done(kernel_->set_ports({any_address(443)}));
    const auto mark = kernel::relay_mark();
    done(net::add_relay_routes(mark.value, mark.mask));
    done(kernel_->set_listeners(std::array{v4_.get()}, std::array{v6_.get()}));
    kernel_->beat();
  }

  static void done(const Status& status) {
    if (!status) throw std::runtime_error(status.error().message());
  }

  Attempt pod_connects(const Endpoint& to, int timeout_ms = patience_ms) const {
    const Inside pod(pod_);
    return try_connect(to, timeout_ms);
  }
  UniqueFd pod_datagrams(const Endpoint& to) const {
    const Inside pod(pod_);
    return connected_datagrams(to);
  }
  UniqueFd outside_datagrams(const Endpoint& where) const {
    const Inside outside(outside_);
    return datagrams_at(where);
  }
  UniqueFd outside_listener(const Endpoint& where) const {
    const Inside outside(outside_);
    return listen_on(where);
  }
  // A frame just as it is, out of the pod's interface.
  void pod_sends_frame(const Bytes& frame) const {
    const Inside pod(pod_);
    const UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(ifindex("eth0"));
    const auto sent = ::sendto(fd.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
    must(sent == static_cast<ssize_t>(frame.size()), "send a frame");
  }
  // The next denials, once one is there. Not of link-local multicast, which a pod's stack sends of its own accord.
  std::vector<kernel::Denial> denials() {
    std::vector<kernel::Denial> all;
    while (all.empty() && wait_until_ready(kernel_->events_fd(), POLLIN)) {
      kernel_->read_denials(1000, [&](const kernel::Denial& denial) {
        if (denial.destination.address.to_string().starts_with("ff02:")) return;
        all.push_back(denial);
      });
    }
    return all;
  }
  // What a dead agent leaves: its pins.
  void agent_dies() {
    kernel_.reset();
    v4_.reset();
    v6_.reset();
  }

  void expect_refused_at_once(const Attempt& attempt) const {
    EXPECT_EQ(attempt.error, ECONNREFUSED) << std::strerror(attempt.error);
    EXPECT_LT(attempt.elapsed_ms, at_once_ms);
  }

  OwnCgroup cgroup_;
  Lab lab_;
  UniqueFd pod_ = make_namespace();
  UniqueFd outside_ = make_namespace();
  std::unique_ptr<kernel::Interception> kernel_ = lab_.open(cgroup_.path());
  UniqueFd v4_ = listen_on(endpoint("127.0.0.1:0"), true);
  UniqueFd v6_ = listen_on(endpoint("[::1]:0"), true);
  unsigned pod_if_ = 0;
  unsigned uplink_ = 0;

 private:
  static std::string path_of(const UniqueFd& there) {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(there.get());
  }
  static void add_address(const std::string& device, const std::string& address) {
    if (address.find(':') == address.npos) return ip_command({"address", "add", address, "dev", device});
    ip_command({"address", "add", address, "dev", device, "nodad"});
  }
  void connect_namespaces() const {
    ip_command({"link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", path_of(pod_)});
    ip_command({"link", "add", "up0", "type", "veth", "peer", "name", "out0", "netns", path_of(outside_)});
    for (const char* address : {"10.1.0.1/24", "fd01::1/64"}) add_address("pod0", address);
    for (const char* address : {"198.51.100.1/24", "2001:db8:ffff::1/64"}) add_address("up0", address);
    for (const char* device : {"pod0", "up0"}) ip_command({"link", "set", device, "up"});
    {
      const Inside pod(pod_);
      for (const char* address : {"10.1.0.2/24", "fd01::2/64"}) add_address("eth0", address);
      ip_command({"link", "set", "eth0", "up"});
      ip_command({"route", "add", "default", "via", "10.1.0.1"});
      ip_command({"-6", "route", "add", "default", "via", "fd01::1"});
    }
    {
      const Inside outside(outside_);
      for (const char* address : {"198.51.100.2/24", "2001:db8:ffff::2/64"}) add_address("out0", address);
      for (const char* address : {"203.0.113.5/32", "2001:db8::5/128"}) add_address("lo", address);
      ip_command({"link", "set", "out0", "up"});
      ip_command({"route", "add", "default", "via", "198.51.100.1"});
      ip_command({"-6", "route", "add", "default", "via", "2001:db8:ffff::1"});
    }
    ip_command({"route", "add", "default", "via", "198.51.100.2"});
    ip_command({"-6", "route", "add", "default", "via", "2001:db8:ffff::2"});
  }
};

}  // namespace sluice::test

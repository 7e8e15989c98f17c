// Claims about flows of real stacks: offloaded checksums and segments of both ends, injected frames on their way, and
// what a pod may not forge.
#include <gmock/gmock.h>

#include <future>
#include <thread>

#include "net/injection.h"
#include "support/node.h"

namespace sluice::test {
namespace {

constexpr std::size_t mebibyte = 1024UL * 1024;
constexpr std::uint32_t gateway_number = 7;

std::string bytes_of(std::size_t size, std::uint32_t seed) {
  std::string bytes(size, '\0');
  for (auto& byte : bytes) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<char>(seed >> 24);
  }
  return bytes;
}
void send_all(int fd, const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    if (!wait_until_ready(fd, POLLOUT)) return;
    const auto now = ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (now > 0) sent += static_cast<std::size_t>(now);
    if (now < 0 && errno != EAGAIN) return;
  }
}
std::string receive_all(int fd, std::size_t size) {
  std::string received(size, '\0');
  std::size_t have = 0;
  while (have < size && wait_until_ready(fd, POLLIN)) {
    const auto now = ::recv(fd, received.data() + have, size - have, MSG_DONTWAIT);
    if (now > 0) have += static_cast<std::size_t>(now);
    if (now == 0 || (now < 0 && errno != EAGAIN)) break;
  }
  received.resize(have);
  return received;
}

class FlowLive : public Node, public ::testing::WithParamInterface<bool> {
 protected:
  FlowLive() {
    {
      // What is injected here is made without timestamps.
      const Inside pod(pod_);
      write_file("/proc/sys/net/ipv4/tcp_timestamps", "0");
    }
    auto gated = any_address(443);
    gated.gated = true;
    gated.gateway = gateway_number;
    done(kernel_->set_ports({gated}));
    done(kernel_->set_flow_limits({100, 100, 1000, 1000}));
    done(kernel_->flows().set_gateway(gateway_number, {gateway_}));
    const auto helper = net::make_injection_link();
    if (!helper) throw std::runtime_error(helper.error().message());
    done(kernel_->attach_helper(*helper));
    auto injector = net::Injector::open(*helper);
    if (!injector) throw std::runtime_error(injector.error().message());
    injector_.emplace(std::move(*injector));
  }

  UniqueFd gateway_listener() const {
    const Inside outside(outside_);
    if (v6_flow_) ip_command({"address", "add", "2001:db8:9::99/128", "dev", "lo", "nodad"});
    if (!v6_flow_) ip_command({"address", "add", "192.0.2.99/32", "dev", "lo"});
    return listen_on(gateway_);
  }

  // A connection of the pod and its other end, at the gateway.
  void connect() {
    auto attempt = pod_connects(outside_endpoint_);
    ASSERT_EQ(attempt.error, 0) << std::strerror(attempt.error);
    pod_end_ = std::move(attempt.fd);
    auto accepted = accept_from(listener_);
    ASSERT_TRUE(accepted);
    gateway_end_ = std::move(*accepted);
    EXPECT_EQ(local_endpoint(gateway_end_.get()), gateway_);
    EXPECT_EQ(peer_endpoint(gateway_end_.get()), local_endpoint(pod_end_.get()));
    const auto flows = kernel_->flows().all();
    ASSERT_EQ(flows.size(), 1U);
    flow_ = flows[0];
  }
  // The frames that were held, once there are some.
  std::vector<Bytes> held() const {
    std::vector<Bytes> frames;
    while (frames.empty() && wait_until_ready(kernel_->flows().upcalls_fd(), POLLIN)) {
      kernel_->flows().read_upcalls(1000, [&](const kernel::Upcall& upcall) {
        if (upcall.kind == kernel::UpcallKind::held) frames.emplace_back(upcall.frame.begin(), upcall.frame.end());
      });
    }
    return frames;
  }
  bool allow(std::uint32_t bytes, std::uint16_t header) const {
    return kernel_->flows().judge({.kind = kernel::Verdict::Kind::allow,
                                   .key = flow_.key,
                                   .approved = flow_.pod_first + bytes,
                                   .header = header});
  }
  // As the pod would send it, with the gateway's numbers.
  Bytes pod_frame(const std::string& payload) const {
    auto frame = tcp_frame(local_endpoint(pod_end_.get()), outside_endpoint_,
                           {.flags = ack | psh,
                            .sequence = flow_.pod_first,
                            .acknowledgement = kernel_->flows().find(flow_.key)->gateway_next,
                            .options = {},
                            .payload = text(payload)});
    std::copy(flow_.ethernet.begin(), flow_.ethernet.end(), frame.begin());
    return frame;
  }
  bool inject(const Bytes& frame, std::uint64_t id) { return injector_->send(frame, kernel::injection_mark(id)).ok(); }
  void expect_bulk_both_ways() const {
    const auto up = bytes_of(16 * mebibyte, 1);
    const auto down = bytes_of(16 * mebibyte, 2);
    const int pod_fd = pod_end_.get();
    const int gateway_fd = gateway_end_.get();
    std::thread uploads([&] { send_all(pod_fd, up); });
    std::thread downloads([&] { send_all(gateway_fd, down); });
    auto received = std::async(std::launch::async, [&] { return receive_all(gateway_fd, up.size()); });
    EXPECT_TRUE(receive_all(pod_fd, down.size()) == down);
    EXPECT_TRUE(received.get() == up);
    uploads.join();
    downloads.join();
  }
  // Both close; the flow has ended with these totals.
  void expect_totals(std::uint64_t sent, std::uint64_t received) {
    ::shutdown(pod_end_.get(), SHUT_WR);
    EXPECT_EQ(receive_all(gateway_end_.get(), 1), "");
    gateway_end_.reset();
    EXPECT_EQ(receive_all(pod_end_.get(), 1), "");
    std::size_t ends = 0;
    // The pod's last acknowledgement is on its way.
    for (int polls = 0; polls < 500 && kernel_->flows().find(flow_.key)->state != kernel::FlowState::ended; ++polls) {
      ::usleep(10'000);
    }
    kernel_->flows().read_endings(
        1000, [&](const kernel::Upcall& upcall) { ends += upcall.kind == kernel::UpcallKind::ended ? 1 : 0; });
    EXPECT_EQ(ends, 1U);
    const auto flow = kernel_->flows().find(flow_.key);
    ASSERT_TRUE(flow);
    EXPECT_EQ(flow->end, kernel::FlowEnd::finished);
    EXPECT_EQ(flow->bytes_sent, sent);
    EXPECT_EQ(flow->bytes_received, received);
  }

  const bool v6_flow_ = GetParam();
  const Endpoint gateway_ = endpoint(v6_flow_ ? "[2001:db8:9::99]:15443" : "192.0.2.99:15443");
  const Endpoint outside_endpoint_{v6_flow_ ? outside6 : outside4, 443};
  UniqueFd listener_ = gateway_listener();
  std::optional<net::Injector> injector_;
  UniqueFd pod_end_;
  UniqueFd gateway_end_;
  kernel::Flow flow_;
};

TEST_P(FlowLive, bytes_of_both_ends_arrive_as_they_were_sent) {
  connect();
  ASSERT_TRUE(allow(0, 0));
  expect_bulk_both_ways();
  expect_totals(16 * mebibyte, 16 * mebibyte);
}

TEST_P(FlowLive, point_8_behind_a_header_too) {
  connect();
  send_text(pod_end_.get(), "hello");
  ASSERT_FALSE(held().empty());
  EXPECT_EQ(receive_text(gateway_end_.get(), 0), "nothing");
  const std::string header = "a header that comes first: ";
  ASSERT_TRUE(allow(5, static_cast<std::uint16_t>(header.size())));
  EXPECT_TRUE(inject(pod_frame(header + "hello"), flow_.key.id));
  EXPECT_EQ(receive_all(gateway_end_.get(), header.size() + 5), header + "hello");
  expect_bulk_both_ways();
  expect_totals(16 * mebibyte + 5, 16 * mebibyte);
}

TEST_P(FlowLive, point_5_a_pod_that_closes_at_once_waits_for_the_verdict_and_loses_nothing) {
  connect();
  send_text(pod_end_.get(), "hello");
  ::shutdown(pod_end_.get(), SHUT_WR);
  ASSERT_FALSE(held().empty());
  EXPECT_FALSE(kernel_->flows().find(flow_.key)->client_fin);
  ASSERT_TRUE(allow(5, 0));
  EXPECT_TRUE(inject(pod_frame("hello"), flow_.key.id));
  EXPECT_EQ(receive_all(gateway_end_.get(), 100), "hello") << "and the end, by the pod's repetition";
  expect_totals(5, 0);
}

TEST_P(FlowLive, point_7_a_pod_cannot_mark_its_packets) {
  connect();
  const auto forged = pod_frame("forged");
  for (const std::uint32_t mark : {kernel::injection_mark(flow_.key.id), std::uint32_t{SLUICE_MARK_PASSED},
                                   std::uint32_t{SLUICE_MARK_RELAY}, 0xffffffffU}) {
    const Inside pod(pod_);
    const UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(ifindex("eth0"));
    ASSERT_EQ(::sendto(fd.get(), forged.data(), forged.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
              static_cast<ssize_t>(forged.size()));
  }
  std::size_t shown = 0;
  while (shown < 4) {
    const auto frames = held();
    if (frames.empty()) break;
    shown += frames.size();
  }
  EXPECT_EQ(shown, 4U) << "each was held";
  EXPECT_EQ(receive_text(gateway_end_.get(), 0), "nothing");
}

TEST_P(FlowLive, point_7_a_frame_for_another_flow_goes_nowhere) {
  connect();
  EXPECT_FALSE(inject(pod_frame("astray"), flow_.key.id + 1));
  EXPECT_TRUE(inject(pod_frame("hello"), flow_.key.id));
  EXPECT_EQ(receive_text(gateway_end_.get()), "hello");
}

TEST_P(FlowLive, point_10_with_a_stale_heartbeat_the_caller_hears_it_at_once) {
  connect();
  lab_.map<std::uint32_t, std::uint64_t>("heartbeats").put(0, 1);
  send_text(pod_end_.get(), "hello");
  EXPECT_EQ(receive_text(pod_end_.get(), at_once_ms), std::strerror(ECONNRESET));
}

INSTANTIATE_TEST_SUITE_P(, FlowLive, ::testing::Bool(), family_name);

}  // namespace
}  // namespace sluice::test

#include "net/resolver_channel.h"

#include <ares.h>
#include <arpa/nameser.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <mutex>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
using Milliseconds = std::chrono::milliseconds;

constexpr int tries = 2;  // of each server; c-ares doubles the wait for the second
constexpr std::uint16_t default_port = 53;

struct PortsFree {
  void operator()(ares_addr_port_node* list) const { ares_free_data(list); }
};

// A descriptor of c-ares, watched but not owned.
struct Socket {
  explicit Socket(asio::io_context& context) : descriptor(context) {}
  ~Socket() {
    if (descriptor.is_open()) descriptor.release();
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  asio::posix::stream_descriptor descriptor;
  bool read_wanted = false;
  bool write_wanted = false;
  bool reading = false;
  bool writing = false;
};

std::optional<Endpoint> endpoint_of(const ares_addr_port_node& node) {
  const bool v4 = node.family == AF_INET;
  const auto* bytes = v4 ? reinterpret_cast<const std::uint8_t*>(&node.addr.addr4)
                         : reinterpret_cast<const std::uint8_t*>(&node.addr.addr6);
  const auto address = IpAddress::from_bytes({bytes, v4 ? 4U : 16U});
  if (!address) return std::nullopt;
  return Endpoint{*address, node.udp_port == 0 ? default_port : static_cast<std::uint16_t>(node.udp_port)};
}

std::string describe(const std::vector<Endpoint>& servers) {
  std::string text = servers.size() == 1 ? "server " : "servers ";
  for (const auto& server : servers) text += (&server == servers.data() ? "" : ", ") + server.to_string();
  return text;
}

Error ares_error(const char* what, int status) {
  return Error(std::string("dns: ") + what + ": " + ares_strerror(status));
}

int set_servers(ares_channel channel, const std::vector<Endpoint>& servers) {
  std::vector<ares_addr_port_node> nodes(servers.size());
  for (std::size_t i = 0; i < servers.size(); ++i) {
    auto& node = nodes[i];
    const auto bytes = servers[i].address.native();
    node.family = servers[i].address.is_v4() ? AF_INET : AF_INET6;
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::uint8_t*>(&node.addr));
    node.udp_port = node.tcp_port = servers[i].port;
    node.next = i + 1 < nodes.size() ? &nodes[i + 1] : nullptr;
  }
  return ares_set_servers_ports(channel, nodes.data());
}

}  // namespace

struct DnsChannel::State : std::enable_shared_from_this<State> {
  explicit State(asio::io_context& io) : context(io), timer(io) {}

  struct Query {
    State& state;
    Callback callback;
  };

  static void on_answer(void* argument, int status, int timeouts, unsigned char* bytes, int size);
  static void on_socket_state(void* argument, ares_socket_t fd, int readable, int writable);
  void watch(int fd, bool readable, bool writable);
  void wait(int fd, const std::shared_ptr<Socket>& socket);
  void on_ready(int fd, const std::weak_ptr<Socket>& socket, bool readable);
  void schedule();
  void close();

  asio::io_context& context;
  asio::steady_timer timer;  // of c-ares' next retry
  ares_channel channel = nullptr;
  std::map<int, std::shared_ptr<Socket>> sockets;
  std::size_t pending = 0;
  std::string servers;
};

void DnsChannel::State::on_answer(void* argument, int status, int /*timeouts*/, unsigned char* bytes, int size) {
  const std::unique_ptr<Query> query(static_cast<Query*>(argument));
  --query->state.pending;
  query->callback(status, bytes == nullptr ? ByteSpan{} : ByteSpan(bytes, static_cast<std::size_t>(size)));
}

void DnsChannel::State::on_socket_state(void* argument, ares_socket_t fd, int readable, int writable) {
  static_cast<State*>(argument)->watch(fd, readable != 0, writable != 0);
}

void DnsChannel::State::watch(int fd, bool readable, bool writable) {
  auto& socket = sockets[fd];
  if (!readable && !writable) {  // c-ares is about to close it
    sockets.erase(fd);
    return;
  }
  if (!socket) {
    socket = std::make_shared<Socket>(context);
    boost::system::error_code error;
    socket->descriptor.assign(fd, error);
    if (error) {  // unwatched, its queries end by c-ares' time limit
      sockets.erase(fd);
      return;
    }
  }
  socket->read_wanted = readable;
  socket->write_wanted = writable;
  wait(fd, socket);
}

void DnsChannel::State::wait(int fd, const std::shared_ptr<Socket>& socket) {
  const auto start = [&](bool& waiting, asio::posix::stream_descriptor::wait_type type, bool readable) {
    waiting = true;
    socket->descriptor.async_wait(
        type, [self = weak_from_this(), weak = std::weak_ptr(socket), fd, readable](boost::system::error_code error) {
          const auto state = self.lock();
          if (!error && state) state->on_ready(fd, weak, readable);
        });
  };
  if (socket->read_wanted && !socket->reading) start(socket->reading, socket->descriptor.wait_read, true);
  if (socket->write_wanted && !socket->writing) start(socket->writing, socket->descriptor.wait_write, false);
}

void DnsChannel::State::on_ready(int fd, const std::weak_ptr<Socket>& weak, bool readable) {
  // c-ares may have closed it meanwhile, and the number may be another socket's now.
  auto socket = weak.lock();
  if (!socket) return;
  (readable ? socket->reading : socket->writing) = false;
  socket.reset();
  ares_process_fd(channel, readable ? fd : ARES_SOCKET_BAD, readable ? ARES_SOCKET_BAD : fd);
  if (const auto still = weak.lock()) wait(fd, still);
  schedule();
}

void DnsChannel::State::schedule() {
  timeval next{};
  if (channel == nullptr || ares_timeout(channel, nullptr, &next) == nullptr) {
    timer.cancel();
    return;
  }
  timer.expires_after(std::chrono::seconds(next.tv_sec) + std::chrono::microseconds(next.tv_usec));
  timer.async_wait([self = weak_from_this()](boost::system::error_code error) {
    const auto state = self.lock();
    if (error || !state || state->channel == nullptr) return;
    ares_process_fd(state->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    state->schedule();
  });
}

void DnsChannel::State::close() {
  timer.cancel();
  if (auto* open = std::exchange(channel, nullptr)) ares_destroy(open);
  sockets.clear();
}

DnsChannel::DnsChannel(std::shared_ptr<State> state) : state_(std::move(state)) {}
DnsChannel::~DnsChannel() {
  state_->close();
}

Result<std::unique_ptr<DnsChannel>> DnsChannel::open(asio::io_context& context, const std::vector<Endpoint>& servers,
                                                     Milliseconds timeout) {
  static std::once_flag once;  // c-ares counts its initialisations without a lock
  static int initialised = ARES_SUCCESS;
  std::call_once(once, [] { initialised = ares_library_init(ARES_LIB_INIT_ALL); });
  if (initialised != ARES_SUCCESS) return ares_error("start c-ares", initialised);

  auto state = std::make_shared<State>(context);
  std::unique_ptr<DnsChannel> channel(new DnsChannel(state));
  char lookups[] = "b";  // DNS alone: a hosts file is the node's opinion
  ares_options options{};
  // No EDNS: a server that refuses it makes c-ares switch it for all queries, and spoils those under way. Answers over
  // 512 bytes come by TCP.
  options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
  options.lookups = lookups;
  options.tries = tries;
  options.sock_state_cb = State::on_socket_state;
  options.sock_state_cb_data = state.get();
  const auto count = static_cast<int>(std::max<std::size_t>(servers.size(), 1));
  options.timeout = std::max(1, static_cast<int>(timeout.count()) / (count * ((1 << tries) - 1)));
  int status = ares_init_options(&state->channel, &options,
                                 ARES_OPT_FLAGS | ARES_OPT_LOOKUPS | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS |
                                     ARES_OPT_SOCK_STATE_CB | ARES_OPT_NOROTATE);
  if (status != ARES_SUCCESS) return ares_error("start c-ares", status);
  if (!servers.empty()) status = set_servers(state->channel, servers);
  if (status != ARES_SUCCESS) return ares_error("use the configured servers", status);

  ares_addr_port_node* list = nullptr;
  status = ares_get_servers_ports(state->channel, &list);
  const std::unique_ptr<ares_addr_port_node, PortsFree> owned(list);
  std::vector<Endpoint> used;
  for (const auto* node = list; node != nullptr; node = node->next) {
    if (const auto endpoint = endpoint_of(*node)) used.push_back(*endpoint);
  }
  if (status != ARES_SUCCESS || used.empty()) return Error("dns: no server: set one, or check /etc/resolv.conf");
  state->servers = describe(used);
  return channel;
}

void DnsChannel::query(const std::string& name, int type, Callback callback) {
  ++state_->pending;
  ares_query(state_->channel, name.c_str(), ns_c_in, type, State::on_answer,
             new State::Query{*state_, std::move(callback)});
  state_->schedule();
}

std::size_t DnsChannel::pending() const {
  return state_->pending;
}
const std::string& DnsChannel::servers() const {
  return state_->servers;
}

}  // namespace sluice::net

#include "sources/api_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "net/dial.h"
#include "tls/stream.h"

namespace sluice::sources {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
using net::Milliseconds;

constexpr Milliseconds handshake_timeout{5000};
constexpr std::size_t max_kubeconfig_bytes = 1024UL * 1024;
constexpr std::size_t max_token_bytes = 64UL * 1024;
// A watch may be silent for minutes: the kernel finds out that its peer is gone, within half a minute.
constexpr int keep_idle_s = 10;
constexpr int keep_interval_s = 5;
constexpr int keep_probes = 4;
constexpr unsigned unanswered_ms = 30'000;

std::string_view read_environment(const char* name) {
  const char* value = ::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets any
  return value != nullptr ? value : "";
}

Result<std::string> read_small_file(const std::string& path, std::size_t max_bytes) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::from_errno("read " + path, errno);
  std::string text(max_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return Error::from_errno("read " + path, EIO);
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > max_bytes) return Error(fmt::format("{} is larger than {} KiB", path, max_bytes / 1024));
  return text;
}

void keep_alive(const net::Socket& socket) {
  const int fd = socket.native_handle();
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_idle_s, sizeof keep_idle_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &keep_interval_s, sizeof keep_interval_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &keep_probes, sizeof keep_probes);
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
}

net::Task<Result<std::vector<Endpoint>>> find_endpoints(std::string host, std::uint16_t port) {
  if (const auto address = IpAddress::parse(host)) co_return std::vector{Endpoint{*address, port}};
  asio::ip::tcp::resolver resolver(co_await asio::this_coro::executor);
  const auto [error, results] = co_await resolver.async_resolve(host, std::to_string(port), as_result);
  if (error) co_return Error(fmt::format("{}: {}", host, error.message()));
  std::vector<Endpoint> endpoints;
  for (const auto& entry : results) endpoints.push_back(net::to_endpoint(entry.endpoint()));
  co_return endpoints;
}

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::open(settings::Kubernetes settings) {
  std::unique_ptr<ApiServer> server(new ApiServer(std::move(settings)));
  if (auto done = server->refresh(); !done) return done.error();
  return server;
}

std::string ApiServer::name() const {
  const bool is_v6 = access_.host.find(':') != std::string::npos;
  return is_v6 ? fmt::format("[{}]:{}", access_.host, access_.port) : fmt::format("{}:{}", access_.host, access_.port);
}

Status ApiServer::refresh() {
  const auto& path = settings_.kubeconfig;
  if (path.empty()) {
    if (context_) return Done{};
    auto access =
        kube::in_cluster(read_environment("KUBERNETES_SERVICE_HOST"), read_environment("KUBERNETES_SERVICE_PORT"),
                         std::string(kube::service_account_directory));
    return access ? adopt(*std::move(access)) : Status(access.error());
  }
  const auto version = FileVersion::of(path);
  if (!version) return version.error();
  if (read_ == *version) return Done{};
  auto text = read_small_file(path, max_kubeconfig_bytes);
  if (!text) return text.error();
  auto access = kube::parse_kubeconfig(*text, path, settings_.context);
  if (!access) return access.error();
  auto done = adopt(*std::move(access));
  if (done) read_ = *version;
  return done;
}

Status ApiServer::adopt(kube::Access access) {
  std::vector<UniqueFd> before = std::move(texts_);
  texts_.clear();
  tls::ClientOptions options;
  for (const auto& [pem, file] :
       {std::pair(&access.roots, &options.files.roots), std::pair(&access.certificate, &options.files.certificate),
        std::pair(&access.key, &options.files.key)}) {
    auto path = file_of(*pem);
    if (!path) return path.error();
    *file = *std::move(path);
  }
  options.skip_verification = access.skip_verification;
  options.tls13_only = false;
  context_ = std::make_shared<tls::ClientContext>(std::move(options));
  access_ = std::move(access);
  token_read_.reset();
  return Done{};
}

// Its path. A text becomes a file that nobody else can name.
Result<std::string> ApiServer::file_of(const kube::Pem& pem) {
  if (pem.text.empty()) return pem.file;
  UniqueFd fd(::memfd_create("sluice-pem", MFD_CLOEXEC));
  if (!fd) return Error::from_errno("memfd_create", errno);
  std::string_view rest = pem.text;
  while (!rest.empty()) {
    const auto size = ::write(fd.get(), rest.data(), rest.size());
    if (size < 0) return Error::from_errno("write certificates", errno);
    rest.remove_prefix(static_cast<std::size_t>(size));
  }
  texts_.push_back(std::move(fd));
  return fmt::format("/proc/self/fd/{}", texts_.back().get());
}

Result<ApiRequest> ApiServer::request(const std::string& target) {
  ApiRequest request{.target = access_.path + target, .host = name(), .token = access_.token};
  if (access_.token_file.empty()) return request;
  const auto version = FileVersion::of(access_.token_file);
  if (!version) return version.error();
  if (!version->exists()) return Error(access_.token_file + " does not exist");
  if (token_read_ != *version) {
    auto text = read_small_file(access_.token_file, max_token_bytes);
    if (!text) return text.error();
    while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
    // It becomes a line of the request.
    const bool plain = std::all_of(text->begin(), text->end(), [](char c) { return c > ' ' && c <= '~'; });
    if (text->empty() || !plain) return Error(access_.token_file + " holds no token");
    token_ = *std::move(text);
    token_read_ = *version;
  }
  request.token = token_;
  return request;
}

net::Task<Result<std::unique_ptr<ApiConnection>>> ApiServer::connect() {
  if (auto done = refresh(); !done) co_return done.error();
  const auto context = context_;
  const auto server = name();
  const bool tls = access_.tls;
  tls::ConnectOptions options;
  options.server_name = access_.server_name.empty() ? access_.host : access_.server_name;
  if (tls) {
    const auto reloaded = context->reload();
    if (!reloaded && !context->current()) co_return reloaded.error();
  }
  auto endpoints = co_await find_endpoints(access_.host, access_.port);
  if (!endpoints) co_return endpoints.error();
  net::DialPlan plan;
  auto dialled = co_await net::dial_any(*std::move(endpoints), plan);
  if (const auto* failed = std::get_if<net::DialError>(&dialled)) co_return Error(failed->message);
  auto socket = std::move(std::get_if<net::Dialled>(&dialled)->socket);
  keep_alive(socket);
  if (!tls) {
    std::unique_ptr<net::Stream> plain = std::make_unique<net::PlainStream>(std::move(socket));
    co_return std::make_unique<ApiConnection>(std::move(plain));
  }
  auto result = co_await tls::connect(*context, std::move(socket), std::move(options), handshake_timeout);
  if (const auto* failed = std::get_if<tls::HandshakeError>(&result)) {
    co_return Error(fmt::format("{}: {}", server, failed->message));
  }
  std::unique_ptr<net::Stream> stream = std::move(*std::get_if<std::unique_ptr<tls::TlsStream>>(&result));
  co_return std::make_unique<ApiConnection>(std::move(stream));
}

}  // namespace sluice::sources

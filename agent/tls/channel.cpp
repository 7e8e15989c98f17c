#include "tls/channel.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "tls/connection.h"

namespace sluice::tls {
namespace {

using net::Io;
using Step = Connection::Step;
constexpr std::size_t record_bytes = 16UL * 1024;    // RFC 8446 section 5.1: the content of one
constexpr std::size_t gathered_bytes = 64UL * 1024;  // of records that are sent together

Io to_io(Step step) {
  if (step == Step::wait) return Io::wait;
  return step == Step::end ? Io::end : Io::broken;
}

}  // namespace

struct TlsChannel::State {
  State(std::shared_ptr<Loaded> loaded, net::Socket& socket) : connection(std::move(loaded), socket) {
    connection.bio.told = true;
  }
  Connection connection;
};

TlsChannel::TlsChannel(std::shared_ptr<Loaded> loaded, net::Socket socket, net::Buffers& buffers)
    : Channel(std::move(socket), buffers), state_(std::make_unique<State>(std::move(loaded), socket_)) {}

TlsChannel::~TlsChannel() = default;

std::unique_ptr<TlsChannel> TlsChannel::accept(const Context& context, net::Socket socket, net::Buffers& buffers) {
  auto loaded = context.current();
  if (!loaded) return nullptr;
  std::unique_ptr<TlsChannel> channel(new TlsChannel(std::move(loaded), std::move(socket), buffers));
  auto& connection = channel->state_->connection;
  if (!connection.is_made()) return nullptr;
  ::SSL_set_accept_state(connection.ssl.get());
  return channel;
}

Result<std::unique_ptr<TlsChannel>> TlsChannel::connect(const Context& context, net::Socket socket,
                                                        const ConnectOptions& options, net::Buffers& buffers) {
  auto loaded = context.current();
  if (!loaded) return Error("no certificates could be read yet");
  std::unique_ptr<TlsChannel> channel(new TlsChannel(std::move(loaded), std::move(socket), buffers));
  auto& connection = channel->state_->connection;
  if (!connection.is_made()) return Error("out of memory");
  if (auto problem = connection.prepare_client(options)) return Error(std::move(*problem));
  return channel;
}

bool TlsChannel::begin() {
  auto& bio = state_->connection.bio;
  bio.budget = budget_;
  bio.drained = drained_;
  bio.told = !end_announced_;
  return state_->connection.begin();
}

// What OpenSSL did not do; a read that was stopped for its budget goes on in another turn.
Io TlsChannel::settle(int result) {
  const auto io = to_io(state_->connection.settle(result));
  return io == Io::wait && budget_ == 0 && !drained_ ? pause_reading() : io;
}

Io TlsChannel::fail(std::string why) {
  return to_io(state_->connection.fail(std::move(why)));
}

Io TlsChannel::handshake() {
  auto& connection = state_->connection;
  if (!begin()) return Io::broken;
  auto& records = buffers_.scratch();
  records.clear();
  connection.bio.gathered = &records;
  const int result = ::SSL_do_handshake(connection.ssl.get());
  connection.bio.gathered = nullptr;
  budget_ = connection.bio.budget;
  drained_ = connection.bio.drained;
  const auto io = result == 1 ? Io::done : settle(result);
  const bool sent = send_unsent(connection.bio) && (records.empty() || send_behind(connection.bio, records));
  if (io == Io::broken) return io;
  if (!sent) return fail(std::system_category().message(connection.bio.error));
  if (!connection.bio.unsent.empty() && await_room() == Io::broken) return fail("out of memory");
  if (io == Io::done) SessionCache::give_back(connection.ssl.get());
  return io == Io::end ? fail("ended during its TLS handshake") : io;
}

Io TlsChannel::read(std::span<std::uint8_t> buffer, std::size_t& size) {
  auto& connection = state_->connection;
  if (!begin()) return Io::broken;
  const int got = ::SSL_read(connection.ssl.get(), buffer.data(), static_cast<int>(buffer.size()));
  budget_ = connection.bio.budget;
  drained_ = connection.bio.drained;
  if (got <= 0) return settle(got);
  size = static_cast<std::size_t>(got);
  return Io::done;
}

Io TlsChannel::flush() {
  auto& connection = state_->connection;
  for (;;) {
    if (connection.broken) return Io::broken;
    if (!send_unsent(connection.bio)) return fail(std::system_category().message(connection.bio.error));
    if (!connection.bio.unsent.empty()) return await_room();
    if (sent_ == out_.size()) break;
    if (const auto io = flush_records(); io == Io::broken) return io;
  }
  drop_written();
  return Io::done;
}

// Encrypts what there is, within bounds, and hands it to the kernel at once.
Io TlsChannel::flush_records() {
  auto& connection = state_->connection;
  auto& records = buffers_.scratch();
  records.clear();
  connection.begin();
  connection.bio.gathered = &records;
  int put = 1;
  while (put > 0 && sent_ < out_.size() && records.size() < gathered_bytes) {
    const auto size = std::min(record_bytes, out_.size() - sent_);
    put = ::SSL_write(connection.ssl.get(), out_.data() + sent_, static_cast<int>(size));
    if (put > 0) sent_ += static_cast<std::size_t>(put);
  }
  connection.bio.gathered = nullptr;
  if (put <= 0) {
    connection.settle(put);
    return fail("cut off within a write");
  }
  if (!send_now(connection.bio, records)) return fail(std::system_category().message(connection.bio.error));
  return Io::done;
}

std::size_t TlsChannel::queued() const {
  return Channel::queued() + state_->connection.bio.unsent.size();
}

void TlsChannel::finish() {
  auto& connection = state_->connection;
  // 0 says that the peer's own close_notify has not come yet, as it need not.
  if (::SSL_is_init_finished(connection.ssl.get()) == 1 && connection.begin()) {
    if (::SSL_shutdown(connection.ssl.get()) < 0) ::ERR_clear_error();
  }
  net::finish_writing(socket_);
}

std::string TlsChannel::alpn() const {
  return state_->connection.alpn();
}

std::string_view TlsChannel::version() const {
  return ::SSL_get_version(state_->connection.ssl.get());
}

bool TlsChannel::resumed() const {
  return state_->connection.resumed();
}

const std::string& TlsChannel::failure() const {
  return state_->connection.failure;
}

}  // namespace sluice::tls

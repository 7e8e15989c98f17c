#include "ingress/handover.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace sluice::ingress {
namespace {

constexpr std::string_view last_message = "\n";
constexpr std::size_t max_message_bytes = 128;
constexpr std::size_t max_sockets = 4096;
constexpr timeval patience{5, 0};

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error(path + ": too long for a socket");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* raw(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

void limit_waits(int fd) {
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

// One message, with a descriptor unless that is negative.
bool send_message(int to, std::string_view text, int fd) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  return ::sendmsg(to, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// The text of one message, and the descriptor that came with it; empty: the end, or an error.
std::string receive_message(int from, UniqueFd& fd) {
  std::array<char, max_message_bytes> text{};
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const auto got = ::recvmsg(from, &message, MSG_CMSG_CLOEXEC);
  if (got <= 0) return {};
  const auto* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    int received = -1;
    std::memcpy(&received, CMSG_DATA(header), sizeof received);
    fd.reset(received);
  }
  return {text.data(), static_cast<std::size_t>(got)};
}

}  // namespace

std::string handover_path(const std::string& admin_socket) {
  return admin_socket + ".handover";
}

Result<Predecessor> Predecessor::ask(const std::string& admin_socket) {
  const auto path = handover_path(admin_socket);
  const auto address = address_of(path);
  if (!address) return address.error();
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno("socket", errno);
  limit_waits(fd.get());
  if (::connect(fd.get(), raw(*address), sizeof *address) != 0) return Error::from_errno("connect to " + path, errno);
  Predecessor predecessor(std::move(fd));
  for (std::size_t count = 0; count < max_sockets; ++count) {
    UniqueFd received;
    const auto text = receive_message(predecessor.fd_.get(), received);
    if (text == last_message) return predecessor;
    const auto endpoint = Endpoint::parse(text);
    if (!endpoint || !received) break;
    predecessor.sockets_[*endpoint].push_back(std::move(received));
  }
  return Error(path + ": the ingress there does not hand over its sockets");
}

void Predecessor::dismiss() {
  if (!send_message(fd_.get(), "!", -1)) spdlog::warn("the ingress before this one is gone already");
  fd_.reset();
}

// A successor that has the sockets, and has not yet said that it accepts.
class Succession::Heir : public std::enable_shared_from_this<Heir> {
 public:
  Heir(boost::asio::io_context& context, UniqueFd fd) : descriptor_(context, fd.release()) {}

  void await(const std::shared_ptr<Door>& door);

 private:
  boost::asio::posix::stream_descriptor descriptor_;
};

class Succession::Door : public std::enable_shared_from_this<Door> {
 public:
  Door(boost::asio::io_context& context, UniqueFd fd, std::string path, Hooks hooks)
      : context_(context), descriptor_(context, fd.release()), path_(std::move(path)), hooks_(std::move(hooks)) {}

  void accept() {
    descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [self = shared_from_this()](const boost::system::error_code& error) {
                             if (error) return;
                             self->hand_over();
                             self->accept();
                           });
  }

  void leave() {
    spdlog::info("another ingress has taken over");
    hooks_.leave();
  }

  void close() {
    boost::system::error_code ignored;
    descriptor_.close(ignored);
    ::unlink(path_.c_str());
  }

 private:
  void hand_over() {
    UniqueFd fd(::accept4(descriptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) return;
    limit_waits(fd.get());
    for (const auto& [endpoint, socket] : hooks_.sockets()) {
      if (!send_message(fd.get(), endpoint.to_string(), socket)) return;
    }
    if (!send_message(fd.get(), last_message, -1)) return;
    std::make_shared<Heir>(context_, std::move(fd))->await(shared_from_this());
  }

  boost::asio::io_context& context_;
  boost::asio::posix::stream_descriptor descriptor_;
  const std::string path_;
  const Hooks hooks_;
};

void Succession::Heir::await(const std::shared_ptr<Door>& door) {
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [self = shared_from_this(), door](const boost::system::error_code& error) {
                           UniqueFd none;
                           if (error) return;
                           if (!receive_message(self->descriptor_.native_handle(), none).empty()) return door->leave();
                           spdlog::warn("an ingress that was to take over has gone away");
                         });
}

Result<std::unique_ptr<Succession>> Succession::open(boost::asio::io_context& context, const std::string& admin_socket,
                                                     Hooks hooks) {
  const auto path = handover_path(admin_socket);
  const auto address = address_of(path);
  if (!address) return address.error();
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("socket", errno);
  // The admin socket beside it is this process's alone, and so is this.
  ::unlink(path.c_str());
  const auto before = ::umask(0177);
  const bool bound = ::bind(fd.get(), raw(*address), sizeof *address) == 0;
  ::umask(before);
  if (!bound || ::listen(fd.get(), 4) != 0) return Error::from_errno("listen on " + path, errno);
  std::unique_ptr<Succession> made(new Succession());
  made->door_ = std::make_shared<Door>(context, std::move(fd), path, std::move(hooks));
  made->door_->accept();
  return made;
}

Succession::~Succession() {
  if (door_) door_->close();
}

}  // namespace sluice::ingress

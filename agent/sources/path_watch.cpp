#include "sources/path_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>

namespace sluice::sources {
namespace {

// IN_CLOSE_WRITE rather than IN_MODIFY: a file is read when its writer is done.
constexpr std::uint32_t directory_mask = IN_CREATE | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |
                                         IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t file_mask = IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr int max_links = 40;  // as the kernel's own limit
constexpr int max_reads = 64;  // of one dispatch(); the rest stays readable
constexpr std::size_t event_bytes = 64 * (sizeof(inotify_event) + NAME_MAX + 1);

std::deque<std::string> split(std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const auto slash = path.find('/');
    if (slash != 0) parts.emplace_back(path.substr(0, slash));
    path.remove_prefix(slash == path.npos ? path.size() : slash + 1);
  }
  return parts;
}

std::string join(const std::string& directory, const std::string& name) {
  return directory == "/" ? "/" + name : directory + "/" + name;
}

std::string parent(const std::string& directory) {
  const auto slash = directory.rfind('/');
  return slash == 0 ? "/" : directory.substr(0, slash);
}

std::string read_link(const std::string& path) {
  std::array<char, PATH_MAX> target{};
  const auto size = ::readlink(path.c_str(), target.data(), target.size());
  return size < 0 ? "" : std::string(target.data(), static_cast<std::size_t>(size));
}

}  // namespace

bool is_resource_name(std::string_view name) {
  return !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"));
}

Result<std::unique_ptr<PathWatch>> PathWatch::open() {
  std::unique_ptr<PathWatch> watch(new PathWatch);
  watch->inotify_ = UniqueFd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch->inotify_) return Error::from_errno("watch resource files: inotify_init1", errno);
  watch->timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!watch->timer_) return Error::from_errno("watch resource files: timerfd_create", errno);
  watch->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!watch->epoll_) return Error::from_errno("watch resource files: epoll_create1", errno);
  for (const int fd : {watch->inotify_.get(), watch->timer_.get()}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(watch->epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return Error::from_errno("watch resource files: epoll_ctl", errno);
    }
  }
  return watch;
}

Result<bool> PathWatch::dispatch() {
  std::uint64_t ticks = 0;
  bool changed = ::read(timer_.get(), &ticks, sizeof ticks) > 0;
  alignas(inotify_event) std::array<char, event_bytes> buffer;
  for (int i = 0; i < max_reads; ++i) {
    const auto size = ::read(inotify_.get(), buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) break;
    if (size < 0) return Error::from_errno("watch resource files: read inotify", errno);
    for (std::ptrdiff_t at = 0; at < size;) {
      inotify_event event;
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = event.len != 0 ? buffer.data() + at + sizeof event : "";
      changed = changed || concerns(event, name);
      if ((event.mask & IN_IGNORED) != 0) watched_.erase(event.wd);
      at += static_cast<std::ptrdiff_t>(sizeof event + event.len);
    }
  }
  return changed;
}

bool PathWatch::concerns(const inotify_event& event, const char* name) const {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return true;
  const auto found = watched_.find(event.wd);
  if (found == watched_.end()) return false;
  const auto& watched = found->second;
  if ((event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0) return true;
  if (watched.is_file) return true;
  if (*name == '\0') return (event.mask & IN_ATTRIB) != 0 && watched.resources;
  if (!watched.names.contains(name) && !(watched.resources && is_resource_name(name))) return false;
  if ((event.mask & IN_CREATE) == 0) return true;
  // A new file is empty at first and its writer's close follows. Links and directories come complete.
  struct stat status{};
  const auto path = join(watched.directory, name);
  return ::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > 0;
}

void PathWatch::begin() {
  ++round_;
  asked_.clear();
}

Result<PathWatch::Watched*> PathWatch::watch(const std::string& path, std::uint32_t mask) {
  if (const auto known = asked_.find(path); known != asked_.end()) return &watched_[known->second];
  const int wd = ::inotify_add_watch(inotify_.get(), path.c_str(), mask);
  if (wd < 0 && errno == ENOSPC) {
    return Error("watch " + path + ": no inotify watches left: raise fs.inotify.max_user_watches");
  }
  if (wd < 0) return Error::from_errno("watch " + path, errno);
  auto& watched = watched_[wd];
  if (watched.round != round_) {
    watched = Watched{.directory = path, .is_file = (mask & IN_ONLYDIR) == 0, .names = {}, .round = round_};
  }
  asked_.emplace(path, wd);
  return &watched;
}

Status PathWatch::add(const std::string& path) {
  blind_ = Done{};
  const auto followed = follow(path);
  return followed ? blind_ : followed;
}

Status PathWatch::follow(const std::string& path) {
  auto parts = split(path);
  std::string at = "/";
  int links = 0;
  struct stat status{};
  while (!parts.empty()) {
    const auto name = std::move(parts.front());
    parts.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      at = parent(at);
      continue;
    }
    if (auto watched = watch(at, directory_mask)) {
      (*watched)->names.insert(name);
    } else if (blind_) {
      blind_ = watched.error();
    }
    const auto next = join(at, name);
    if (::lstat(next.c_str(), &status) != 0) return Done{};
    if (S_ISDIR(status.st_mode)) {
      at = next;
    } else if (S_ISLNK(status.st_mode)) {
      const auto target = read_link(next);
      if (target.empty() || ++links > max_links) return Done{};
      if (target.front() == '/') at = "/";
      auto ahead = split(target);
      parts.insert(parts.begin(), ahead.begin(), ahead.end());
    } else {
      if (auto watched = watch(next, file_mask); !watched) return watched.error();
      return Done{};
    }
  }
  auto watched = watch(at, directory_mask);
  if (!watched) return watched.error();
  (*watched)->resources = true;
  return Done{};
}

Status PathWatch::commit(bool retry) {
  for (auto entry = watched_.begin(); entry != watched_.end();) {
    if (entry->second.round == round_) {
      ++entry;
      continue;
    }
    ::inotify_rm_watch(inotify_.get(), entry->first);
    entry = watched_.erase(entry);
  }
  if (retry == retrying_) return Done{};
  const itimerspec every_second{.it_interval = {.tv_sec = retry ? 1 : 0, .tv_nsec = 0},
                                .it_value = {.tv_sec = retry ? 1 : 0, .tv_nsec = 0}};
  if (::timerfd_settime(timer_.get(), 0, &every_second, nullptr) != 0) {
    return Error::from_errno("watch resource files: timerfd_settime", errno);
  }
  retrying_ = retry;
  return Done{};
}

}  // namespace sluice::sources

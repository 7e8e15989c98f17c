// A private piece of kernel for one test: network namespaces, a bpffs, a cgroup. It ends with the test's process.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/fd.h"

namespace sluice::test {

inline void must(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what + ": " + std::strerror(errno));
}

// Runs ip(8) in the calling thread's network namespace.
inline void ip_command(std::vector<std::string> words) {
  words.insert(words.begin(), "ip");
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  must(::posix_spawnp(&child, "ip", nullptr, nullptr, arguments.data(), environ) == 0, "start ip");
  int status = 0;
  must(::waitpid(child, &status, 0) == child, "wait for ip");
  std::string line;
  for (const auto& word : words) line += word + " ";
  if (status != 0) throw std::runtime_error(line + "failed");
}

inline void write_file(const std::string& path, const std::string& content) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  must(fd && ::write(fd.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()),
       "write " + path);
}

inline UniqueFd current_namespace() {
  UniqueFd fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  must(static_cast<bool>(fd), "open the network namespace");
  return fd;
}

// A new, empty network namespace with lo up, where IPv6 addresses can be used at once. The caller is in it then.
inline UniqueFd enter_new_namespace() {
  must(::unshare(CLONE_NEWNET) == 0, "unshare the network namespace (root is needed)");
  for (const char* scope : {"all", "default"}) {
    write_file(std::string("/proc/sys/net/ipv6/conf/") + scope + "/accept_dad", "0");
  }
  ip_command({"link", "set", "lo", "up"});
  return current_namespace();
}

// Everything in its scope happens in another network namespace; sockets made there stay there.
class Inside {
 public:
  explicit Inside(const UniqueFd& there) : here_(current_namespace()) {
    must(::setns(there.get(), CLONE_NEWNET) == 0, "setns");
  }
  ~Inside() { EXPECT_EQ(::setns(here_.get(), CLONE_NEWNET), 0); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  UniqueFd here_;
};

// A mount namespace of its own with a tmpfs at directory(), so that mounts made in the test are nobody else's.
class PrivateMounts {
 public:
  PrivateMounts() {
    must(::unshare(CLONE_NEWNS) == 0, "unshare the mount namespace (root is needed)");
    must(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "make mounts private");
    must(::mount("sluice-test", "/mnt", "tmpfs", 0, nullptr) == 0, "mount a tmpfs");
  }
  std::string directory() const { return "/mnt"; }
};

inline unsigned ifindex(const std::string& name) {
  const auto index = ::if_nametoindex(name.c_str());
  must(index != 0, name);
  return index;
}

}  // namespace sluice::test

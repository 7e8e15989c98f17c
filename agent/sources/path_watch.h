// Watches paths, each with every directory and symbolic link on the way to it, so that nothing on the way can change
// unseen. One descriptor for inotify and for the timer that stands in where inotify cannot be had.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

struct inotify_event;

namespace sluice::sources {

// Is `name` one of the files that are read of a directory?
bool is_resource_name(std::string_view name);

class PathWatch {
 public:
  static Result<std::unique_ptr<PathWatch>> open();

  int fd() const { return epoll_.get(); }
  // True when something of the watched may have changed.
  Result<bool> dispatch();

  // Between begin() and commit() every path is named again; those that are not are no longer watched.
  void begin();
  // Follows `path` to its end, or to the first part that does not exist. What lies ahead is looked at only after it is
  // watched: a later change is always noticed. An error (no watches left, a directory that may not be read) means that
  // changes may go unnoticed.
  Status add(const std::string& path);
  // `retry`: dispatch() says true once a second, because something cannot be watched or read.
  Status commit(bool retry);

 private:
  struct Watched {
    std::string directory;
    bool is_file = false;         // a file itself: it may be written through another of its names
    bool resources = false;       // any file that is_resource_name()
    std::set<std::string> names;  // these
    std::uint64_t round = 0;      // the last begin() that asked for it
  };

  PathWatch() = default;
  Result<Watched*> watch(const std::string& path, std::uint32_t mask);
  Status follow(const std::string& path);
  bool concerns(const inotify_event& event, const char* name) const;

  UniqueFd inotify_;
  UniqueFd timer_;
  UniqueFd epoll_;
  std::map<int, Watched> watched_;
  std::map<std::string, int> asked_;  // in this round: asking again costs the kernel a walk over a directory's entries
  std::uint64_t round_ = 0;
  Status blind_ = Done{};  // the first directory of this add() that cannot be watched
  bool retrying_ = false;
};

}  // namespace sluice::sources

// Istio objects from files and directories, watched with inotify: a change is noticed whether a file is edited in
// place, replaced by a rename, swapped by a symbolic link (a Kubernetes ConfigMap), removed, or appears later.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "resources/registry.h"

namespace sluice::sources {

inline constexpr std::size_t max_files = 10'000;
inline constexpr std::size_t max_file_bytes = 16UL * 1024 * 1024;
inline constexpr std::size_t max_total_bytes = 256UL * 1024 * 1024;

class PathWatch;

// Not thread-safe: one owner polls fd(), calls dispatch(), and reload() when that says so, at best some 50 ms later so
// that a burst of changes is read once.
class FileSource {
 public:
  // `paths`: files, or directories whose *.yaml and *.yml are read (hidden ones and subdirectories are not). A path may
  // appear later. Nothing is read before the first reload().
  static Result<std::unique_ptr<FileSource>> open(std::vector<std::string> paths);
  ~FileSource();

  int fd() const;  // readable when dispatch() has work
  // Takes in what was noticed; true when reload() is due.
  Result<bool> dispatch();
  // Reads everything; true when any file's content came, changed or went. A file that cannot be read keeps what it said
  // before; one that is gone takes its objects along.
  bool reload();

  const resources::Registry& registry() const { return registry_; }
  // The registry's, and those of the paths themselves.
  std::vector<resources::Problem> problems() const;

 private:
  struct Content {
    std::size_t size = 0;
    std::size_t hash = 0;
    bool operator==(const Content&) const = default;
  };
  // What became of one path in a reload.
  enum class Outcome : std::uint8_t { same, changed, gone };

  FileSource(std::vector<std::string> paths, std::unique_ptr<PathWatch> watch);
  void follow(const std::string& path);
  void list(const std::string& path, std::set<std::string>& files, std::set<std::string>& kept);
  void list_directory(const std::string& path, std::set<std::string>& files, std::set<std::string>& kept);
  Outcome read(const std::string& file);
  Outcome keep(const std::string& file, std::string message);
  void note(resources::Severity severity, const std::string& path, std::string message);

  std::vector<std::string> paths_;
  std::unique_ptr<PathWatch> watch_;
  resources::Registry registry_;
  std::map<std::string, std::optional<Content>> contents_;  // of the files in the registry; none: not readable now
  std::map<std::string, std::set<std::string>> listed_;     // by path, the last time it could be listed
  std::vector<resources::Problem> problems_;
  std::size_t total_bytes_ = 0;  // read in this reload
  bool retry_ = false;           // something of this reload can only be noticed by trying again
};

}  // namespace sluice::sources

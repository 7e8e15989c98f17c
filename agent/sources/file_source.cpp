#include "sources/file_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <iterator>
#include <system_error>
#include <utility>
#include <variant>

#include "base/fd.h"
#include "sources/path_watch.h"

namespace sluice::sources {
namespace {

using resources::Severity;

bool means_gone(int code) {
  return code == ENOENT || code == ENOTDIR || code == ELOOP;
}

std::string describe(int code) {
  return std::generic_category().message(code);
}

// The first `limit` bytes, or the errno of a failure.
std::variant<std::string, int> read_up_to(int fd, std::size_t size_hint, std::size_t limit) {
  std::string text;
  text.resize(std::min(size_hint + 1, limit));
  std::size_t used = 0;
  while (used < limit) {
    if (used == text.size()) text.resize(std::min(text.size() * 2, limit));
    const auto size = ::read(fd, text.data() + used, text.size() - used);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    if (size == 0) break;
    used += static_cast<std::size_t>(size);
  }
  text.resize(used);
  return text;
}

std::string make_absolute(const std::string& path) {
  std::error_code ignored;
  auto absolute = std::filesystem::absolute(path, ignored).string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

}  // namespace

Result<std::unique_ptr<FileSource>> FileSource::open(std::vector<std::string> paths) {
  for (auto& path : paths) path = make_absolute(path);
  auto watch = PathWatch::open();
  if (!watch) return watch.error();
  return std::unique_ptr<FileSource>(new FileSource(std::move(paths), *std::move(watch)));
}

FileSource::FileSource(std::vector<std::string> paths, std::unique_ptr<PathWatch> watch)
    : paths_(std::move(paths)), watch_(std::move(watch)) {}

FileSource::~FileSource() = default;

int FileSource::fd() const {
  return watch_->fd();
}

Result<bool> FileSource::dispatch() {
  return watch_->dispatch();
}

bool FileSource::reload() {
  problems_.clear();
  total_bytes_ = 0;
  retry_ = false;
  watch_->begin();
  std::set<std::string> files;
  std::set<std::string> kept;
  for (const auto& path : paths_) list(path, files, kept);
  if (files.size() > max_files) {
    const auto first_left_out = std::next(files.begin(), static_cast<std::ptrdiff_t>(max_files));
    note(Severity::error, *first_left_out, "is not read, nor is any file that sorts after it: there are over 10,000");
    files.erase(first_left_out, files.end());
  }

  bool changed = false;
  for (const auto& file : files) {
    const auto outcome = read(file);
    changed = changed || outcome == Outcome::changed;
    if (outcome != Outcome::gone) kept.insert(file);
  }
  for (auto entry = contents_.begin(); entry != contents_.end();) {
    if (kept.contains(entry->first)) {
      ++entry;
      continue;
    }
    registry_.remove_file(entry->first);
    entry = contents_.erase(entry);
    changed = true;
  }
  if (const auto status = watch_->commit(retry_); !status) {
    note(Severity::error, paths_.empty() ? "" : paths_.front(), status.error().message());
  }
  return changed;
}

std::vector<resources::Problem> FileSource::problems() const {
  auto problems = registry_.problems();
  problems.insert(problems.begin(), problems_.begin(), problems_.end());
  return problems;
}

void FileSource::note(Severity severity, const std::string& path, std::string message) {
  problems_.push_back({severity, "SLU0004", path, 0, "", "", std::move(message)});
}

void FileSource::follow(const std::string& path) {
  const auto status = watch_->add(path);
  if (status) return;
  retry_ = true;
  note(Severity::warning, path, status.error().message() + "; it is read once a second instead");
}

void FileSource::list(const std::string& path, std::set<std::string>& files, std::set<std::string>& kept) {
  follow(path);
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return list_directory(path, files, kept);
    listed_[path] = {path};
    files.insert(path);
    return;
  }
  if (means_gone(errno)) {
    listed_.erase(path);
    note(Severity::warning, path, "does not exist yet: nothing is read from it until it does");
    return;
  }
  retry_ = true;
  note(Severity::error, path, "cannot be read: " + describe(errno) + "; what it said before stays in force");
  kept.insert(listed_[path].begin(), listed_[path].end());
}

void FileSource::list_directory(const std::string& path, std::set<std::string>& files, std::set<std::string>& kept) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) {
    retry_ = true;
    note(Severity::error, path, "cannot be listed: " + describe(errno) + "; what it said before stays in force");
    kept.insert(listed_[path].begin(), listed_[path].end());
    return;
  }
  std::set<std::string> found;
  while (const auto* entry = ::readdir(directory.get())) {  // NOLINT(concurrency-mt-unsafe): this stream is ours alone
    if (!is_resource_name(entry->d_name)) continue;
    auto file = path == "/" ? "/" + std::string(entry->d_name) : path + "/" + entry->d_name;
    if (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN) follow(file);
    found.insert(std::move(file));
    if (found.size() > max_files + 1) found.erase(std::prev(found.end()));
  }
  listed_[path] = found;
  files.merge(found);
}

FileSource::Outcome FileSource::keep(const std::string& file, std::string message) {
  resources::FileContent content;
  content.failure = resources::Problem{Severity::error, "SLU0004", file, 0, "", "", std::move(message)};
  registry_.update_file(file, std::move(content));
  const auto [entry, first] = contents_.try_emplace(file);
  const bool changed = first || entry->second.has_value();
  entry->second.reset();
  return changed ? Outcome::changed : Outcome::same;
}

FileSource::Outcome FileSource::read(const std::string& file) {
  // O_NONBLOCK: a pipe must not hold the reader.
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status{};
  if (!fd || ::fstat(fd.get(), &status) != 0) {
    if (means_gone(errno)) return Outcome::gone;
    retry_ = true;
    return keep(file, "cannot be read: " + describe(errno));
  }
  if (!S_ISREG(status.st_mode)) return keep(file, "is not a regular file");
  auto result = read_up_to(fd.get(), static_cast<std::size_t>(status.st_size), max_file_bytes + 1);
  if (const int* code = std::get_if<int>(&result)) {
    retry_ = true;
    return keep(file, "cannot be read: " + describe(*code));
  }
  const auto& text = *std::get_if<std::string>(&result);
  if (text.size() > max_file_bytes) return keep(file, "larger than 16 MiB: split the file");
  total_bytes_ += text.size();
  if (total_bytes_ > max_total_bytes)
    return keep(file, "all files together are larger than 256 MiB: this one is not read");

  const Content content{text.size(), std::hash<std::string>{}(text)};
  auto& known = contents_[file];
  if (known == content) return Outcome::same;
  known = content;
  registry_.update_file(file, resources::parse_documents(text, file));
  return Outcome::changed;
}

}  // namespace sluice::sources

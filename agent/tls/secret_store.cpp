#include "tls/secret_store.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

namespace sluice::tls {
namespace {

// A file that nobody else can name.
Result<UniqueFd> make_file(std::string_view bytes) {
  UniqueFd file(::memfd_create("sluice-secret", MFD_CLOEXEC));
  if (!file) return Error::from_errno("memfd_create", errno);
  while (!bytes.empty()) {
    const auto size = ::write(file.get(), bytes.data(), bytes.size());
    if (size < 0) return Error::from_errno("keep a Secret", errno);
    bytes.remove_prefix(static_cast<std::size_t>(size));
  }
  return file;
}

}  // namespace

Status SecretStore::replace(const std::map<std::string, Keys>& secrets) {
  std::map<std::string, Told> told;  // at first those that are new
  for (const auto& [name, keys] : secrets) {
    if (const auto before = told_.find(name); before != told_.end() && before->second.keys == keys) continue;
    auto& entry = told[name];
    entry.keys = keys;
    for (const auto& [key, bytes] : keys) {
      auto file = make_file(bytes);
      if (!file) return file.error();
      entry.files.emplace(key, *std::move(file));
    }
  }
  for (const auto& [name, keys] : secrets) {
    if (!told.contains(name)) told.insert(told_.extract(name));
  }
  told_ = std::move(told);
  return Done{};
}

std::string SecretStore::path(const std::string& secret, const std::string& key) const {
  if (!directory_.empty()) return directory_ + "/" + secret + "/" + key;
  const auto found = told_.find(secret);
  if (found != told_.end()) {
    const auto file = found->second.files.find(key);
    if (file != found->second.files.end()) return fmt::format("/proc/self/fd/{}", file->second.get());
  }
  return "/proc/self/fd/none";
}

std::string SecretStore::describe(const std::string& secret) const {
  return directory_.empty() ? "Secret " + secret : directory_ + "/" + secret;
}

}  // namespace sluice::tls

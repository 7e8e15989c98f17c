#include "observe/audit_key.h"

#include <cerrno>
#include <fstream>
#include <iterator>

namespace sluice::observe {
namespace {

constexpr std::size_t min_key_bytes = 16;
constexpr std::size_t max_key_bytes = 4096;

}  // namespace

Result<std::vector<std::uint8_t>> read_audit_key(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::from_errno("open " + path, errno);
  std::string text(max_key_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return Error("read " + path + ": failed");
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > max_key_bytes) return Error(path + " is too long for a key: at most 4096 bytes");
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.size() < min_key_bytes) return Error(path + " is too short for a key: at least 16 bytes");
  return std::vector<std::uint8_t>(text.begin(), text.end());
}

}  // namespace sluice::observe

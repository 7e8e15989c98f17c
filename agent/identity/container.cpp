#include "identity/container.h"

#include <algorithm>
#include <optional>

namespace sluice::identity {
namespace {

constexpr std::size_t id_length = 64;   // SHA-256 in hexadecimal
constexpr std::size_t uid_length = 36;  // RFC 4122
constexpr std::string_view runtimes[] = {"cri-containerd", "crio", "docker", "containerd", "libpod"};

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_id(std::string_view text) {
  return text.size() == id_length && is_hex(text);
}

// "ID", "RUNTIME-ID.scope", or "...:RUNTIME:ID".
std::optional<std::string> read_id(std::string_view part) {
  if (is_id(part)) return std::string(part);
  if (const auto colon = part.rfind(':'); colon != part.npos && is_id(part.substr(colon + 1))) {
    return std::string(part.substr(colon + 1));
  }
  constexpr std::string_view suffix = ".scope";
  if (!part.ends_with(suffix)) return std::nullopt;
  part.remove_suffix(suffix.size());
  const auto dash = part.rfind('-');
  if (dash == part.npos || !is_id(part.substr(dash + 1))) return std::nullopt;
  const auto* runtime = std::find(std::begin(runtimes), std::end(runtimes), part.substr(0, dash));
  return runtime == std::end(runtimes) ? std::nullopt : std::optional(std::string(part.substr(dash + 1)));
}

// "podUID", or "kubepods-QOS-podUID.slice" with '_' for '-'. A static pod's UID is a digest of 32 digits.
bool is_pod(std::string_view part) {
  if (const auto colon = part.find(':'); colon != part.npos) part = part.substr(0, colon);
  constexpr std::string_view suffix = ".slice";
  constexpr std::string_view word = "pod";
  if (part.ends_with(suffix)) {
    part.remove_suffix(suffix.size());
    const auto begin = part.rfind("-pod");
    if (begin == part.npos) return false;
    part.remove_prefix(begin + 1);
  }
  if (!part.starts_with(word)) return false;
  const auto uid = part.substr(word.size());
  std::string digits(uid);
  std::erase_if(digits, [](char c) { return c == '-' || c == '_'; });
  return (uid.size() == uid_length || uid.size() == digits.size()) && digits.size() == 32 && is_hex(digits);
}

// The innermost container counts: nodes may be containers themselves.
std::string read_path(std::string_view path) {
  std::string found;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    path.remove_prefix(slash == path.npos ? path.size() : slash + 1);
    if (is_pod(part)) found.clear();
    if (auto id = read_id(part)) found = *std::move(id);
  }
  return found;
}

}  // namespace

std::string find_container(std::string_view file) {
  while (!file.empty()) {
    const auto end = file.find('\n');
    auto line = file.substr(0, end);
    file.remove_prefix(end == file.npos ? file.size() : end + 1);
    // "hierarchy:controllers:path"
    const auto first = line.find(':');
    const auto second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) continue;
    if (auto found = read_path(line.substr(second + 1)); !found.empty()) return found;
  }
  return {};
}

}  // namespace sluice::identity

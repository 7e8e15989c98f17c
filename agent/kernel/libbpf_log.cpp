#include "kernel/libbpf_log.h"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <string>

namespace sluice::kernel {
namespace {

constexpr std::size_t max_log_bytes = 16384;  // the end of a verifier log says why

// libbpf's hook takes no context.
thread_local std::string collected;

int collect(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  std::array<char, 4096> line{};
  const int size = std::vsnprintf(line.data(), line.size(), format, arguments);
  collected += line.data();
  if (collected.size() > max_log_bytes) collected.erase(0, collected.size() - max_log_bytes);
  return size;
}

}  // namespace

LibbpfLog::LibbpfLog() : previous_(::libbpf_set_print(collect)) {
  collected.clear();
}

LibbpfLog::~LibbpfLog() {
  ::libbpf_set_print(previous_);
}

Error LibbpfLog::error(std::string_view what, int code) const {
  const auto error = Error::from_errno(what, code);
  return collected.empty() ? error : Error(error.message() + "; libbpf says:\n" + collected);
}

}  // namespace sluice::kernel

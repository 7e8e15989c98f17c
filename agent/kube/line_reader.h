// Lines of a stream that comes in pieces.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::kube {

class LineReader {
 public:
  explicit LineReader(std::size_t max_line) : max_line_(max_line) {}

  // False: a line is longer than the maximum, and nothing more can be read.
  bool feed(std::string_view piece);
  // The next whole line without its end, valid until the next call of either; nullopt: there is none yet.
  std::optional<std::string_view> next();

 private:
  std::size_t max_line_;
  std::string bytes_;
  std::size_t start_ = 0;   // of the line that is next
  std::size_t looked_ = 0;  // no line ends between start_ and here
};

}  // namespace sluice::kube

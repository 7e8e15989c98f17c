#include "kube/line_reader.h"

#include <algorithm>

namespace sluice::kube {

bool LineReader::feed(std::string_view piece) {
  bytes_.erase(0, start_);
  looked_ -= start_;
  start_ = 0;
  // A line may have been long; what is held is what is needed.
  if (bytes_.empty() && bytes_.capacity() > 256UL * 1024) bytes_ = std::string();
  bytes_ += piece;
  const auto end = bytes_.find('\n', looked_);
  return (end == std::string::npos ? bytes_.size() : end) <= max_line_;
}

std::optional<std::string_view> LineReader::next() {
  const auto end = bytes_.find('\n', std::max(looked_, start_));
  if (end == std::string::npos) {
    looked_ = bytes_.size();
    return std::nullopt;
  }
  const std::string_view line(bytes_.data() + start_, end - start_);
  start_ = end + 1;
  looked_ = start_;
  return line;
}

}  // namespace sluice::kube

// The other side of the admin socket, for the command line.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace sluice::admin {

struct Response {
  unsigned status = 0;
  std::string body;
};

// GET `target` over the Unix socket, blocking until the whole answer is there, at most `timeout`.
Result<Response> get(const std::string& socket_path, const std::string& target,
                     std::chrono::milliseconds timeout = std::chrono::seconds(5));

}  // namespace sluice::admin

#include "relay/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

namespace sluice::relay {
namespace {

constexpr std::size_t idle_pipes = 64;

}  // namespace

std::optional<Pipe> PipePool::take() {
  if (!idle_.empty()) {
    auto pipe = std::move(idle_.back());
    idle_.pop_back();
    return pipe;
  }
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return std::nullopt;
  // A larger pipe is a wish: past the user's pipe quota the kernel says no and the default size does.
  ::fcntl(ends[1], F_SETPIPE_SZ, pipe_bytes);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void PipePool::give_back(Pipe pipe) {
  if (idle_.size() < idle_pipes) idle_.push_back(std::move(pipe));
}

}  // namespace sluice::relay

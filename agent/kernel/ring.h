// A ring that BPF programs write to (BPF_MAP_TYPE_RINGBUF), read a bounded number of items at a time.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace sluice::kernel {

// Belongs to one thread.
class Ring {
 public:
  // One item, good during the call only; whether it counts as read.
  using Take = std::function<bool(ByteSpan item)>;

  // `name` is that of the errors.
  static Result<std::unique_ptr<Ring>> open(const bpf_map* map, const std::string& name) {
    std::unique_ptr<Ring> ring(new Ring());
    ring->fd_ = ::bpf_map__fd(map);
    ring->ring_.reset(::ring_buffer__new(ring->fd_, &Ring::on_item, ring.get(), nullptr));
    if (!ring->ring_) return Error::from_errno("open the ring of " + name, errno);
    return ring;
  }

  // Readable when items wait: the map's own, which stays whose it is.
  int fd() const { return fd_; }

  // Takes those waiting, at most `limit`; how many counted.
  std::size_t read(std::size_t limit, const Take& take) {
    if (limit == 0) return 0;
    take_ = &take;
    left_ = limit;
    read_ = 0;
    ::ring_buffer__consume(ring_.get());
    take_ = nullptr;
    return read_;
  }

 private:
  struct Free {
    void operator()(ring_buffer* ring) const { ::ring_buffer__free(ring); }
  };

  Ring() = default;
  // A negative result ends the reading after this item.
  static int on_item(void* self, void* data, std::size_t size) {
    auto* ring = static_cast<Ring*>(self);
    if ((*ring->take_)({static_cast<const std::uint8_t*>(data), size})) ++ring->read_;
    return --ring->left_ == 0 ? -1 : 0;
  }

  int fd_ = -1;
  std::unique_ptr<ring_buffer, Free> ring_;
  // Of the read() under way.
  const Take* take_ = nullptr;
  std::size_t left_ = 0;
  std::size_t read_ = 0;
};

}  // namespace sluice::kernel

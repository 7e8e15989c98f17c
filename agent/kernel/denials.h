// What the programs tell about refusals: events in a ring, and counts of those without one.
#pragma once

#include <bpf/libbpf.h>

#include <functional>
#include <memory>
#include <vector>

#include "kernel/interception.h"
#include "kernel/tables.h"

namespace sluice::kernel {

class Denials {
 public:
  static Result<std::unique_ptr<Denials>> open(const Tables& tables, const bpf_map* events);

  int fd() const { return ::ring_buffer__epoll_fd(ring_.get()); }
  std::size_t read(std::size_t limit, const std::function<void(const Denial&)>& each);
  // Counters of interfaces that are no pods (any more) go once they are taken.
  std::vector<DenialCount> take_counts();

 private:
  struct RingFree {
    void operator()(ring_buffer* ring) const { ::ring_buffer__free(ring); }
  };

  explicit Denials(const Tables& tables) : tables_(tables) {}
  static int on_event(void* self, void* data, std::size_t size);
  void handle(const sluice_event& event);
  // How much the counter grew since it was taken last.
  std::uint64_t take(const sluice_denial_key& key);

  const Tables& tables_;
  std::unique_ptr<ring_buffer, RingFree> ring_;
  // Of the read() under way.
  const std::function<void(const Denial&)>* each_ = nullptr;
  std::size_t left_ = 0;
  std::size_t read_ = 0;
};

// The process with the socket of this cookie.
std::optional<Owner> find_owner(const Tables& tables, std::uint64_t cookie);
// The same for the last time: what is known of the socket goes.
std::optional<Owner> take_owner(const Tables& tables, std::uint64_t cookie);

}  // namespace sluice::kernel

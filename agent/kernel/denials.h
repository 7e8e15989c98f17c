// What the programs tell about refusals: events in a ring, and counts of those without one.
#pragma once

#include <bpf/libbpf.h>

#include <functional>
#include <memory>
#include <vector>

#include "kernel/interception.h"
#include "kernel/ring.h"
#include "kernel/tables.h"

namespace sluice::kernel {

class Denials {
 public:
  static Result<std::unique_ptr<Denials>> open(const Tables& tables, const bpf_map* events);

  int fd() const { return ring_->fd(); }
  std::size_t read(std::size_t limit, const std::function<void(const Denial&)>& each);
  // Counters of interfaces that are no pods (any more) go once they are taken.
  std::vector<DenialCount> take_counts();

 private:
  explicit Denials(const Tables& tables) : tables_(tables) {}
  // How much the counter grew since it was taken last.
  std::uint64_t take(const sluice_denial_key& key);

  const Tables& tables_;
  std::unique_ptr<Ring> ring_;
};

// The process with the socket of this cookie.
std::optional<Owner> find_owner(const Tables& tables, std::uint64_t cookie);
// The same for the last time: what is known of the socket goes.
std::optional<Owner> take_owner(const Tables& tables, std::uint64_t cookie);

}  // namespace sluice::kernel

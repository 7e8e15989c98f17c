// Which programs run on which interfaces: the pinned links `links/<ifindex>-<program>`, and the maps `pods` and
// `links`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernel/interception.h"
#include "kernel/links.h"
#include "kernel/tables.h"

struct gate_bpf;

namespace sluice::kernel {

class Interfaces {
 public:
  Interfaces(const gate_bpf& gate, const Tables& tables, const PinnedLinks& links)
      : gate_(gate), tables_(tables), links_(links) {}

  // Puts this process's programs in the place of a predecessor's, and clears away what is left of interfaces that went
  // while nobody looked.
  Status take_over();

  Status attach_pod(unsigned ifindex, const std::string& name);
  Status attach_uplink(unsigned ifindex, const std::string& name);
  Status note_other(unsigned ifindex, const std::string& name);
  Status forget(unsigned ifindex);
  std::vector<AttachedInterface> attached() const;

 private:
  Status take_over_link(const std::string& link);
  Status attach(unsigned ifindex, const char* program);
  Status remove_link(unsigned ifindex, const char* program) const;
  // Is `program` attached to this very interface? Not when one before it had the same number.
  Result<bool> is_attached(unsigned ifindex, const char* program) const;
  Status clear_entries(unsigned ifindex) const;

  const gate_bpf& gate_;
  const Tables& tables_;
  const PinnedLinks& links_;
  std::map<unsigned, AttachedInterface> attached_;
};

}  // namespace sluice::kernel

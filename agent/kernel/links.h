// Pinned BPF links: what keeps a program attached without a process. One file a link, `links/<name>`.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace sluice::kernel {

// Where a program is attached. `id` says the same as `handle`, in the words of the kernel's link information.
struct Target {
  bpf_attach_type type;
  int handle;        // ifindex, or a descriptor of a network namespace or cgroup
  std::uint64_t id;  // ifindex, or the inode number of the network namespace or cgroup
};

// The hooks of an interface.
Target tcx_ingress(unsigned ifindex);
Target tcx_egress(unsigned ifindex);

class PinnedLinks {
 public:
  explicit PinnedLinks(std::string directory) : directory_(std::move(directory)) {}

  // From here on the program runs at `target` and `name` is its pin. A link that is there already is updated in place;
  // one that is dead (its target is gone) or elsewhere is replaced, the new one first.
  Status ensure(const std::string& name, int program, const Target& target) const;

  // Where the pinned link `name` is attached: 0 when it is dead, nullopt when there is none.
  Result<std::optional<std::uint64_t>> target_id(const std::string& name) const;

  // Detaches and unpins. Fine when there is none.
  Status remove(const std::string& name) const;

  std::vector<std::string> names() const;

 private:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string directory_;
};

}  // namespace sluice::kernel

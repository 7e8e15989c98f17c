// The loaded programs and their maps. Maps are pinned, `maps/<name>`, and found again by the next process.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

struct gate_bpf;
struct identity_bpf;

namespace sluice::kernel {

struct GateFree {
  void operator()(gate_bpf* programs) const;
};
struct IdentityFree {
  void operator()(identity_bpf* programs) const;
};

struct Programs {
  std::unique_ptr<gate_bpf, GateFree> gate;
  std::unique_ptr<identity_bpf, IdentityFree> identity;  // uses the maps of `gate`
};

// Loads the programs of this binary on the maps that are pinned in `directory`, or on new ones, which it pins. Maps of
// another ABI are refused: they are somebody's enforcement, and only `sluice detach` ends that.
Result<Programs> load_programs(const std::string& directory);

}  // namespace sluice::kernel

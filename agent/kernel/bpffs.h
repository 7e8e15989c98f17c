// The directory of the pins and the BPF filesystem below it.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace sluice::kernel {

// Makes `directory` (absolute) exist on a bpffs: inside one that is mounted already, else on one mounted here. It is
// mounted at `directory` itself, or at its parent where that is an empty directory of sysfs, in which none can be made.
Status make_pin_directory(const std::string& directory);

// Removes `directory`, which holds no pins any more, and the mount that make_pin_directory() made for it.
Status remove_pin_directory(const std::string& directory);

// The one agent that uses these pins: held until the descriptor is closed. Two would take each other's events.
Result<UniqueFd> lock_pin_directory(const std::string& directory);

// Names in `directory`, sorted; none when it does not exist.
std::vector<std::string> list_directory(const std::string& directory);

// True where `path` exists on a mounted bpffs.
bool is_on_bpffs(const std::string& path);

}  // namespace sluice::kernel

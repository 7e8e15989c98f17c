// Where things are pinned: `<bpffs>/maps/<map>` and `<bpffs>/links/<link>`.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace sluice::kernel {

std::string maps_directory(const std::string& bpffs);
std::string links_directory(const std::string& bpffs);
// To be read only.
Result<UniqueFd> open_pinned_map(const std::string& path);
// Creates the directories that are missing in `bpffs`.
Status make_pin_directories(const std::string& bpffs);

}  // namespace sluice::kernel

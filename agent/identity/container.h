// Which container a process is in, by the path of its cgroup. Pure.
#pragma once

#include <string>
#include <string_view>

namespace sluice::identity {

// The runtime's id of it, empty for none. Of /proc/PID/cgroup (cgroups(7)): the paths of the one hierarchy of version
// 2, or of those of version 1, of which the first counts that names a container. The layouts are those of containerd,
// CRI-O and Docker with the drivers systemd and cgroupfs. What monitors a container (crio-conmon-ID) is in none.
std::string find_container(std::string_view cgroup_file);

}  // namespace sluice::identity

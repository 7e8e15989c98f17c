// Paths of cgroups as the runtimes lay them out.
#include "identity/container.h"

#include <gtest/gtest.h>

#include <ostream>

namespace sluice::identity {
namespace {

const std::string id(64, 'c');
const std::string other(64, 'e');
const std::string uid = "0f3c1a52-7a6b-4c1d-9e8f-0123456789ab";
const std::string slice_uid = "0f3c1a52_7a6b_4c1d_9e8f_0123456789ab";

struct Row {
  std::string name;
  std::string file;
  std::string found;
};

void PrintTo(const Row& row, std::ostream* out) {
  *out << row.file;
}

class ContainerPath : public testing::TestWithParam<Row> {};

TEST_P(ContainerPath, tells_the_container) {
  EXPECT_EQ(find_container(GetParam().file), GetParam().found);
}

INSTANTIATE_TEST_SUITE_P(
    layouts, ContainerPath,
    testing::Values(
        Row{"v2_systemd_containerd",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + slice_uid +
                ".slice/cri-containerd-" + id + ".scope\n",
            id},
        Row{"v2_systemd_crio",
            "0::/kubepods.slice/kubepods-pod" + slice_uid + ".slice/crio-" + id + ".scope/container\n", id},
        Row{"v2_systemd_docker",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + slice_uid + ".slice/docker-" + id +
                ".scope\n",
            id},
        Row{"v2_cgroupfs", "0::/kubepods/besteffort/pod" + uid + "/" + id + "\n", id},
        Row{"v2_cgroupfs_guaranteed", "0::/kubepods/pod" + uid + "/" + id + "\n", id},
        Row{"v2_cgroupfs_crio", "0::/kubepods/burstable/pod" + uid + "/crio-" + id + ".scope\n", id},
        Row{"systemd_driver_of_the_kubelet_and_cgroupfs_of_containerd",
            "0::/system.slice/containerd.service/kubepods-burstable-pod" + slice_uid + ".slice:cri-containerd:" + id +
                "\n",
            id},
        Row{"hybrid_of_both_versions",
            "12:pids:/kubepods/burstable/pod" + uid + "/" + id + "\n1:name=systemd:/kubepods/burstable/pod" + uid +
                "/" + id + "\n0::/\n",
            id},
        Row{"v1_systemd",
            "11:memory:/kubepods.slice/kubepods-pod" + slice_uid + ".slice/cri-containerd-" + id + ".scope\n", id},
        Row{"static_pod",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + std::string(32, 'a') +
                ".slice/cri-containerd-" + id + ".scope\n",
            id},
        Row{"node_in_a_container",
            "0::/docker/" + other + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + slice_uid +
                ".slice/cri-containerd-" + id + ".scope\n",
            id},
        Row{"docker_without_kubernetes", "0::/system.slice/docker-" + id + ".scope\n", id},
        Row{"inner_cgroup", "0::/kubepods/pod" + uid + "/" + id + "/user.slice/app\n", id}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    none, ContainerPath,
    testing::Values(Row{"root", "0::/\n", ""}, Row{"empty", "", ""},
                    Row{"service", "0::/system.slice/ssh.service\n", ""},
                    Row{"monitor_of_a_container",
                        "0::/kubepods.slice/kubepods-pod" + slice_uid + ".slice/crio-conmon-" + id + ".scope\n", ""},
                    Row{"pod_without_a_container", "0::/kubepods/pod" + uid + "\n", ""},
                    Row{"short_id", "0::/kubepods/pod" + uid + "/" + id.substr(1) + "\n", ""},
                    Row{"pod_of_a_node_that_is_a_container",
                        "0::/docker/" + other + "/kubelet/kubepods/pod" + uid + "\n", ""},
                    Row{"no_lines", "::::\n0\n:\n", ""}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace sluice::identity

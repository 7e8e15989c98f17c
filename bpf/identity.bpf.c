/* Which process opens a connection: noted by socket cookie while the process is the one running. A pod's socket keeps
 * its cookie on the way to the node's end of the veth, where from_pod reads it. */
#include <linux/bpf.h>

#include "bpf/maps.h"

char LICENSE[] SEC("license") = "GPL";

static inline __attribute__((always_inline)) void note_process(__u64 cookie) {
  struct sluice_process process = {
      .cgroup_id = bpf_get_current_cgroup_id(),
      .pid = (__u32)(bpf_get_current_pid_tgid() >> 32),
      .uid = (__u32)bpf_get_current_uid_gid(),
  };
  bpf_get_current_comm(process.comm, sizeof process.comm);
  bpf_map_update_elem(&processes, &cookie, &process, BPF_ANY);
}

SEC("cgroup/connect4")
int note_connect4(struct bpf_sock_addr* address) {
  note_process(bpf_get_socket_cookie(address));
  return 1;
}

SEC("cgroup/connect6")
int note_connect6(struct bpf_sock_addr* address) {
  note_process(bpf_get_socket_cookie(address));
  return 1;
}

/* The socket that sends the SYN is not always the one that connect(2) was called on: MPTCP opens a subflow for it. */
SEC("sockops")
int note_socket(struct bpf_sock_ops* operation) {
  if (operation->op == BPF_SOCK_OPS_TCP_CONNECT_CB) note_process(bpf_get_socket_cookie(operation));
  return 1;
}

// Runs a loaded program on a crafted packet (BPF_PROG_TEST_RUN) and looks at what it made of it.
#pragma once

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/fd.h"
#include "support/packet.h"

namespace sluice::test {

// What a tc program returns.
inline constexpr int goes_on = -1;  // to the hook's other programs and the stack
inline constexpr int is_dropped = 2;
inline constexpr int is_sent_back = 7;  // redirected

struct Skb {
  unsigned ifindex = 0;          // the interface of the hook
  unsigned ingress_ifindex = 0;  // where the packet entered the node
  std::uint32_t mark = 0;
};

struct Outcome {
  int action = 0;
  std::uint32_t mark = 0;
  Bytes packet;
};

// The program that a pinned link runs.
inline UniqueFd program_of_link(const std::string& pin) {
  const UniqueFd link(::bpf_obj_get(pin.c_str()));
  bpf_link_info info{};
  std::uint32_t size = sizeof info;
  if (!link || ::bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) {
    ADD_FAILURE() << pin << ": " << std::strerror(errno);
    return {};
  }
  return UniqueFd(::bpf_prog_get_fd_by_id(info.prog_id));
}

inline Outcome run_program(int program, const Bytes& packet, const Skb& skb) {
  __sk_buff context{};
  context.ifindex = skb.ifindex;
  context.ingress_ifindex = skb.ingress_ifindex;
  context.mark = skb.mark;
  Bytes out(packet.size() + 256);
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = packet.data();
  options.data_size_in = static_cast<std::uint32_t>(packet.size());
  options.data_out = out.data();
  options.data_size_out = static_cast<std::uint32_t>(out.size());
  options.ctx_in = &context;
  options.ctx_size_in = sizeof context;
  options.ctx_out = &context;
  options.ctx_size_out = sizeof context;
  if (::bpf_prog_test_run_opts(program, &options) != 0) {
    ADD_FAILURE() << "BPF_PROG_TEST_RUN: " << std::strerror(errno);
    return {};
  }
  out.resize(options.data_size_out);
  return {static_cast<int>(options.retval), context.mark, out};
}

}  // namespace sluice::test

/* Every map, once. README.md has the table of who writes and reads what, and what happens when one is full. */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/abi.h"

#define SLUICE_MAP(map_type, name, key_type, value_type, entries, flags) \
  struct {                                                               \
    __uint(type, map_type);                                              \
    __uint(max_entries, entries);                                        \
    __uint(map_flags, flags);                                            \
    __type(key, key_type);                                               \
    __type(value, value_type);                                           \
  } name SEC(".maps")

SLUICE_MAP(BPF_MAP_TYPE_ARRAY, configs, __u32, struct sluice_config, 1, 0);
SLUICE_MAP(BPF_MAP_TYPE_ARRAY, heartbeats, __u32, __u64, 1, 0);
SLUICE_MAP(BPF_MAP_TYPE_HASH, pods, __u32, struct sluice_pod, SLUICE_MAX_PODS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, links, __u32, __u8, SLUICE_MAX_LINKS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_LPM_TRIE, internals, struct sluice_internal_key, __u8, SLUICE_MAX_INTERNALS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, ports, struct sluice_port_key, struct sluice_port, SLUICE_MAX_PORTS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_LPM_TRIE, destinations, struct sluice_destination_key, __u8, SLUICE_MAX_DESTINATIONS,
           BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_SOCKMAP, listeners, __u32, __u64, 2 * SLUICE_MAX_LISTENERS, 0);
SLUICE_MAP(BPF_MAP_TYPE_LRU_HASH, conns, struct sluice_tuple, __u64, SLUICE_MAX_CONNS, 0);
SLUICE_MAP(BPF_MAP_TYPE_LRU_HASH, processes, __u64, struct sluice_process, SLUICE_MAX_PROCESSES, 0);
SLUICE_MAP(BPF_MAP_TYPE_LRU_HASH, inbounds, struct sluice_tuple, __u64, SLUICE_MAX_INBOUNDS, 0);
SLUICE_MAP(BPF_MAP_TYPE_HASH, denials, struct sluice_denial_key, __u64, SLUICE_MAX_DENIALS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, denials_taken, struct sluice_denial_key, __u64, SLUICE_MAX_DENIALS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, budgets, __u32, __u64, SLUICE_MAX_PODS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, gateways, __u32, struct sluice_gateway, SLUICE_MAX_GATEWAYS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, flows, struct sluice_tuple, struct sluice_flow, SLUICE_MAX_FLOWS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, backs, struct sluice_tuple, struct sluice_back, SLUICE_MAX_FLOWS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, ends, __u64, struct sluice_end_of_flow, SLUICE_MAX_ENDS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_LRU_HASH, syns, __u64, struct sluice_syn, SLUICE_MAX_SYNS, 0);
SLUICE_MAP(BPF_MAP_TYPE_HASH, hosts, __u64, struct sluice_host, SLUICE_MAX_HOSTS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, loads, __u32, struct sluice_load, SLUICE_MAX_PODS, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, promises, __u64, struct sluice_promise, SLUICE_MAX_PROMISES, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_HASH, pieces, __u64, struct sluice_piece, SLUICE_MAX_PIECES, BPF_F_NO_PREALLOC);
SLUICE_MAP(BPF_MAP_TYPE_ARRAY, verdicts, __u32, struct sluice_verdict, SLUICE_VERDICTS, BPF_F_MMAPABLE);
SLUICE_MAP(BPF_MAP_TYPE_ARRAY, flow_ids, __u32, __u64, 1, 0);
SLUICE_MAP(BPF_MAP_TYPE_ARRAY, counters, __u32, __u64, SLUICE_COUNTERS, 0);
SLUICE_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, scratches, __u32, struct sluice_scratch, 1, 0);

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, SLUICE_EVENT_BYTES);
} events SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, SLUICE_UPCALL_BYTES);
} upcalls SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, SLUICE_ENDING_BYTES);
} endings SEC(".maps");

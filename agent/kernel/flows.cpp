#include "kernel/flows.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sha256.h"
#include "kernel/skeletons.h"
#include "kernel/tables.h"

namespace sluice::kernel {
namespace {

constexpr std::uint32_t batch = 1024;  // flows that one system call reads

sluice_tuple to_tuple(const FlowKey& key) {
  sluice_tuple tuple{};
  tuple.source = to_kernel(key.source.address);
  tuple.destination = to_kernel(key.destination.address);
  tuple.source_port = key.source.port;
  tuple.destination_port = key.destination.port;
  tuple.protocol = IPPROTO_TCP;
  return tuple;
}

FlowKey to_key(std::uint64_t id, const sluice_tuple& tuple) {
  return {id, {from_kernel(tuple.source), tuple.source_port}, {from_kernel(tuple.destination), tuple.destination_port}};
}

std::uint64_t id_of(const sluice_flow& flow) {
  return flow.state >> 8;
}

Flow to_flow(const FlowKey& key, const sluice_flow& from) {
  Flow flow;
  flow.key = key;
  flow.state = static_cast<FlowState>(from.state & 0xff);
  flow.end = static_cast<FlowEnd>(from.end);
  flow.client_fin = (from.flags & SLUICE_FLOW_POD_FIN) != 0;
  flow.ifindex = from.ifindex;
  flow.gateway = {from_kernel(from.gateway), from.gateway_port};
  flow.source_port = from.source_port;
  flow.gateway_number = from.gateway_number / 2;  // the rest is the family
  flow.cookie = from.cookie;
  flow.audit = {from.audit[0], from.audit[1]};
  flow.host = from.host;
  flow.note = from.sniffed;
  flow.began_ns = from.began_ns;
  flow.seen_ns = from.seen_ns;
  flow.bytes_sent = from.bytes_sent;
  flow.bytes_received = from.bytes_received;
  flow.pod_first = from.pod_isn + 1;
  flow.pod_next = from.pod_next;
  flow.pod_acked = from.pod_acked;
  flow.gateway_next = from.gateway_next;
  flow.gateway_acked = from.gateway_acked;
  flow.approved = from.approved;
  flow.header = from.header;
  flow.mss = from.mss;
  std::copy(std::begin(from.ethernet), std::end(from.ethernet), flow.ethernet.begin());
  return flow;
}

// What a program that the agent runs itself returns; negative: it could not be run.
template <typename Args>
int run(int program, Args& args) {
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.ctx_in = &args;
  options.ctx_size_in = sizeof args;
  if (::bpf_prog_test_run_opts(program, &options) != 0) return -1;
  return static_cast<int>(options.retval);
}

}  // namespace

Flows::Flows(const gate_bpf& gate)
    : gateways_(gate.maps.gateways),
      flows_(gate.maps.flows),
      ends_(gate.maps.ends),
      syns_(gate.maps.syns),
      hosts_(gate.maps.hosts),
      promises_(gate.maps.promises),
      judge_fd_(::bpf_program__fd(gate.progs.judge)),
      sweep_fd_(::bpf_program__fd(gate.progs.sweep)) {}

Result<std::unique_ptr<Flows>> Flows::open(const gate_bpf& gate) {
  auto ring = Ring::open(gate.maps.upcalls, "upcalls");
  if (!ring) return ring.error();
  std::unique_ptr<Flows> flows(new Flows(gate));
  flows->ring_ = std::move(*ring);
  return flows;
}

Status Flows::set_gateway(std::uint32_t number, const std::vector<Endpoint>& addresses) const {
  sluice_gateway entries[2] = {};
  for (const auto& endpoint : addresses) {
    auto& entry = entries[endpoint.address.is_v4() ? 0 : 1];
    if (entry.count == SLUICE_GATEWAY_ADDRESSES) continue;
    entry.addresses[entry.count] = to_kernel(endpoint.address);
    entry.ports[entry.count] = endpoint.port;
    ++entry.count;
  }
  for (const std::uint32_t v6 : {0U, 1U}) {
    if (auto done = gateways_.put(number * 2 + v6, entries[v6]); !done) return done;
  }
  return Done{};
}

Status Flows::keep_gateways(const std::vector<std::uint32_t>& numbers) const {
  for (const auto key : gateways_.keys()) {
    if (std::find(numbers.begin(), numbers.end(), key / 2) != numbers.end()) continue;
    if (auto done = gateways_.remove(key); !done) return done;
  }
  return Done{};
}

int Flows::upcalls_fd() const {
  return ring_->fd();
}

std::size_t Flows::read_upcalls(std::size_t limit, const std::function<void(const Upcall&)>& each) {
  return ring_->read(limit, [&](ByteSpan item) {
    sluice_upcall upcall{};
    if (item.size() < sizeof upcall) return false;
    std::memcpy(&upcall, item.data(), sizeof upcall);
    const auto rest = item.subspan(sizeof upcall);
    each(Upcall{.kind = static_cast<UpcallKind>(upcall.kind),
                .key = to_key(upcall.flow_id, upcall.tuple),
                .ifindex = upcall.ifindex,
                .state = static_cast<FlowState>(upcall.state),
                .frame = rest.first(std::min<std::size_t>(rest.size(), upcall.frame_bytes))});
    return true;
  });
}

std::optional<Flow> Flows::find(const FlowKey& key) const {
  const auto found = flows_.find(to_tuple(key));
  if (found && id_of(*found) == key.id) return to_flow(key, *found);
  const auto replaced = ends_.find(key.id);
  if (!replaced) return std::nullopt;
  auto flow = to_flow(key, *replaced);
  flow.state = FlowState::ended;
  if (flow.end == FlowEnd::none) flow.end = FlowEnd::replaced;
  return flow;
}

std::vector<Flow> Flows::all() const {
  std::vector<Flow> flows;
  std::vector<sluice_tuple> tuples(batch);
  std::vector<sluice_flow> values(batch);
  std::uint64_t place[8] = {};  // the kernel's
  const void* from = nullptr;
  for (;;) {
    std::uint32_t count = batch;
    const int error = ::bpf_map_lookup_batch(flows_.fd(), const_cast<void*>(from), place, tuples.data(), values.data(),
                                             &count, nullptr);
    const bool last = error != 0;
    if (last && errno != ENOENT) return flows;
    for (std::uint32_t index = 0; index < count; ++index) {
      flows.push_back(to_flow(to_key(id_of(values[index]), tuples[index]), values[index]));
    }
    if (last) return flows;
    from = place;
  }
}

std::vector<Flow> Flows::replaced() const {
  std::vector<Flow> flows;
  for (const auto id : ends_.keys()) {
    if (auto flow = find({id, {}, {}})) flows.push_back(*flow);
  }
  return flows;
}

bool Flows::judge(const FlowKey& key, sluice_judge_args& args) const {
  args.flow_id = key.id;
  args.tuple = to_tuple(key);
  return run(judge_fd_, args) == 0;
}

bool Flows::allow(const FlowKey& key, const Approval& approval) const {
  sluice_judge_args args{};
  args.audit[0] = approval.audit[0];
  args.audit[1] = approval.audit[1];
  args.host = approval.host;
  args.approved = approval.approved;
  args.header = approval.header;
  args.sniffed = approval.note;
  args.verdict = SLUICE_FLOW_ALLOWED;
  return judge(key, args);
}

bool Flows::deny(const FlowKey& key) const {
  sluice_judge_args args{};
  args.verdict = SLUICE_FLOW_DENIED;
  return judge(key, args);
}

bool Flows::redirect(const FlowKey& key) const {
  sluice_judge_args args{};
  args.verdict = SLUICE_FLOW_OPENING;
  return judge(key, args);
}

std::optional<std::vector<std::uint8_t>> Flows::syn(std::uint64_t id) const {
  const auto found = syns_.find(id);
  if (!found || found->bytes > sizeof found->frame) return std::nullopt;
  return std::vector<std::uint8_t>(found->frame, found->frame + found->bytes);
}

bool Flows::collect(const Flow& flow) const {
  sluice_judge_args args{};
  args.verdict = SLUICE_FLOW_COLLECTED;
  return judge(flow.key, args) || ends_.take(flow.key.id).has_value();
}

Swept Flows::sweep(std::uint64_t now_ns, const FlowPatience& patience) const {
  sluice_sweep_args args{};
  args.now_ns = now_ns;
  args.opening_ns = patience.opening;
  args.held_ns = patience.held;
  args.allowed_ns = patience.allowed;
  args.idle_ns = patience.idle;
  args.answer_ns = patience.answer;
  args.ended_ns = patience.ended;
  // What the program writes to its arguments comes back in them.
  if (run(sweep_fd_, args) != 0) return {};
  return {args.late, args.undecided, args.flows};
}

Status Flows::promise(std::uint64_t id, const Promise& promise) const {
  if (promise.header.size() > SLUICE_PROMISE_BYTES) {
    return Error(fmt::format("a header of {} bytes does not fit in map promises", promise.header.size()));
  }
  sluice_promise entry{};
  entry.header = static_cast<std::uint32_t>(promise.header.size());
  entry.approved = promise.approved;
  std::copy(promise.digest.begin(), promise.digest.end(), entry.digest);
  std::copy(promise.header.begin(), promise.header.end(), entry.bytes);
  return promises_.put(id, entry);
}

std::optional<Promise> Flows::promised(std::uint64_t id) const {
  const auto entry = promises_.find(id);
  if (!entry || entry->header > SLUICE_PROMISE_BYTES) return std::nullopt;
  Promise promise{{entry->bytes, entry->bytes + entry->header}, entry->approved, {}};
  std::copy(std::begin(entry->digest), std::end(entry->digest), promise.digest.begin());
  return promise;
}

void Flows::drop_promise(std::uint64_t id) const {
  // One that stays is overwritten by nobody, and found by the sweep at the next start.
  static_cast<void>(promises_.remove(id));
}

Result<std::uint64_t> Flows::number_of(const std::string& host) {
  if (host.empty()) return std::uint64_t{0};
  sluice_host entry{};
  if (host.size() >= sizeof entry.name) return Error("a host name of over 255 bytes");
  std::copy(host.begin(), host.end(), entry.name);
  Sha256 hash;
  hash.update(host);
  const auto digest = hash.finish();
  std::uint64_t number = 0;
  std::memcpy(&number, digest.data(), sizeof number);
  number |= 1;  // 0 is nobody
  const auto known = hosts_.find(number);
  if (known) {
    if (host == known->name) return number;
    return Error("two host names have one number");
  }
  if (auto done = hosts_.put(number, entry); !done) return done.error();
  return number;
}

std::string Flows::host(std::uint64_t number) const {
  const auto found = number != 0 ? hosts_.find(number) : std::nullopt;
  return found ? std::string(found->name, ::strnlen(found->name, sizeof found->name)) : std::string();
}

std::uint32_t injection_mark(std::uint64_t id) {
  return SLUICE_INJECTION_MARK(id);
}

}  // namespace sluice::kernel

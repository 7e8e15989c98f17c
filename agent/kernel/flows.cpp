#include "kernel/flows.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sha256.h"
#include "kernel/skeletons.h"
#include "kernel/tables.h"

namespace sluice::kernel {
namespace {

static_assert(max_promised_header_bytes <= std::size_t{SLUICE_MAX_PIECES_OF_ONE} * SLUICE_PIECE_BYTES);

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
  flow.was_allowed = (from.flags & SLUICE_FLOW_WAS_ALLOWED) != 0;
  flow.recorded = (from.flags & SLUICE_FLOW_RECORDED) != 0;
  flow.reset_again = (from.flags & SLUICE_FLOW_RESET_AGAIN) != 0;
  flow.ifindex = from.ifindex;
  flow.gateway = {from_kernel(from.gateway), from.gateway_port};
  flow.source_port = from.source_port;
  flow.gateway_number = from.gateway_number / 2;  // the rest is the family
  flow.cookie = from.cookie;
  flow.audit = {from.audit[0], from.audit[1]};
  flow.host = from.host;
  flow.note = from.sniffed;
  flow.why = from.why;
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

// Runs a program of the agent's own; what it writes to its arguments comes back in them.
template <typename Args>
bool run(int program, Args& args) {
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.ctx_in = &args;
  options.ctx_size_in = sizeof args;
  return ::bpf_prog_test_run_opts(program, &options) == 0;
}

std::size_t read(Ring& ring, std::size_t limit, const std::function<void(const Upcall&)>& each) {
  return ring.read(limit, [&](ByteSpan item) {
    sluice_upcall upcall{};
    if (item.size() < sizeof upcall) return false;
    std::memcpy(&upcall, item.data(), sizeof upcall);
    const auto rest = item.subspan(sizeof upcall);
    each(Upcall{.kind = static_cast<UpcallKind>(upcall.kind),
                .first = upcall.first != 0,
                .flow = to_flow(to_key(id_of(upcall.flow), upcall.tuple), upcall.flow),
                .owner = to_owner(upcall.process),
                .frame = rest.first(std::min<std::size_t>(rest.size(), upcall.frame_bytes))});
    return true;
  });
}

std::uint8_t state_of(Verdict::Kind kind) {
  switch (kind) {
    case Verdict::Kind::allow:
      return SLUICE_FLOW_ALLOWED;
    case Verdict::Kind::deny:
      return SLUICE_FLOW_DENIED;
    case Verdict::Kind::reroute:
      return SLUICE_FLOW_OPENING;
    case Verdict::Kind::collect:
      break;
  }
  return SLUICE_FLOW_COLLECTED;
}

sluice_verdict to_kernel(const Verdict& verdict) {
  sluice_verdict entry{};
  entry.flow_id = verdict.key.id;
  entry.tuple = to_tuple(verdict.key);
  entry.host = verdict.host;
  entry.promise.header = verdict.header;
  entry.promise.approved = verdict.approved;
  std::copy(verdict.digest.begin(), verdict.digest.end(), entry.promise.digest);
  entry.sniffed = verdict.note;
  entry.why = verdict.why;
  entry.state = state_of(verdict.kind);
  return entry;
}

}  // namespace

Flows::Flows(const gate_bpf& gate)
    : FlowEntries(Table<sluice_tuple, sluice_flow>(gate.maps.flows),
                  Table<std::uint64_t, sluice_host>(gate.maps.hosts)),
      gateways_(gate.maps.gateways),
      ends_(gate.maps.ends),
      syns_(gate.maps.syns),
      loads_(gate.maps.loads),
      promises_(gate.maps.promises),
      pieces_(gate.maps.pieces),
      judge_fd_(::bpf_program__fd(gate.progs.judge)),
      sweep_fd_(::bpf_program__fd(gate.progs.sweep)) {}

Result<std::unique_ptr<Flows>> Flows::open(const gate_bpf& gate) {
  auto upcalls = Ring::open(gate.maps.upcalls, "upcalls");
  if (!upcalls) return upcalls.error();
  auto endings = Ring::open(gate.maps.endings, "endings");
  if (!endings) return endings.error();
  std::unique_ptr<Flows> flows(new Flows(gate));
  flows->upcalls_ = std::move(*upcalls);
  flows->endings_ = std::move(*endings);
  void* memory = ::mmap(nullptr, SLUICE_VERDICTS * sizeof(sluice_verdict), PROT_READ | PROT_WRITE, MAP_SHARED,
                        ::bpf_map__fd(gate.maps.verdicts), 0);
  if (memory == MAP_FAILED) return Error::from_errno("map the verdicts", errno);
  flows->verdicts_ = {static_cast<sluice_verdict*>(memory), SLUICE_VERDICTS};
  for (const auto number : flows->hosts_.keys()) flows->numbers_.emplace(flows->host(number), number);
  return flows;
}

Flows::~Flows() {
  if (!verdicts_.empty()) ::munmap(verdicts_.data(), verdicts_.size_bytes());
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
  return upcalls_->fd();
}

std::size_t Flows::read_upcalls(std::size_t limit, const std::function<void(const Upcall&)>& each) {
  return read(*upcalls_, limit, each);
}

std::size_t Flows::read_endings(std::size_t limit, const std::function<void(const Upcall&)>& each) {
  return read(*endings_, limit, each);
}

std::optional<Flow> Flows::find(const FlowKey& key) const {
  const auto found = flows_.find(to_tuple(key));
  if (found && id_of(*found) == key.id) return to_flow(key, *found);
  const auto replaced = ends_.find(key.id);
  if (!replaced) return std::nullopt;
  auto flow = to_flow(to_key(key.id, replaced->tuple), replaced->flow);
  if (flow.state != FlowState::denied) flow.state = FlowState::ended;
  if (flow.end == FlowEnd::none) flow.end = FlowEnd::replaced;
  return flow;
}

std::vector<Flow> FlowEntries::all() const {
  std::vector<Flow> flows;
  std::vector<sluice_tuple> tuples(batch);
  std::vector<sluice_flow> values(batch);
  std::uint64_t place[8] = {};  // the kernel's
  const void* from = nullptr;
  for (;;) {
    auto count = static_cast<std::uint32_t>(tuples.size());
    const int error = ::bpf_map_lookup_batch(flows_.fd(), const_cast<void*>(from), place, tuples.data(), values.data(),
                                             &count, nullptr);
    if (error != 0 && errno == ENOSPC && tuples.size() < SLUICE_MAX_FLOWS) {  // more in one bucket than fit
      tuples.resize(2 * tuples.size());
      values.resize(tuples.size());
      continue;
    }
    const bool last = error != 0;
    if (last && errno != ENOENT) return flows;
    for (std::uint32_t index = 0; index < count; ++index) {
      flows.push_back(to_flow(to_key(id_of(values[index]), tuples[index]), values[index]));
    }
    if (last) return flows;
    from = place;
  }
}

std::size_t Flows::undecided() const {
  const auto node = loads_.find(SLUICE_NODE);
  return node ? node->undecided : 0;
}

std::vector<Flow> Flows::replaced() const {
  std::vector<Flow> flows;
  for (const auto id : ends_.keys()) {
    if (auto flow = find({id, {}, {}})) flows.push_back(*flow);
  }
  return flows;
}

void Flows::judge(std::span<Verdict> verdicts) const {
  while (!verdicts.empty()) {
    const auto count = std::min(verdicts.size(), verdicts_.size());
    judge_some(verdicts.first(count));
    verdicts = verdicts.subspan(count);
  }
}

void Flows::judge_some(std::span<Verdict> verdicts) const {
  std::transform(verdicts.begin(), verdicts.end(), verdicts_.begin(),
                 [](const Verdict& verdict) { return to_kernel(verdict); });
  sluice_judge_args args{};
  args.count = static_cast<std::uint32_t>(verdicts.size());
  const bool ran = run(judge_fd_, args);
  for (std::size_t index = 0; index < verdicts.size(); ++index) {
    auto& verdict = verdicts[index];
    verdict.done = ran && verdicts_[index].result == SLUICE_JUDGED_DONE;
    verdict.no_room = ran && verdicts_[index].result == SLUICE_JUDGED_NO_ROOM;
    if (verdict.done || verdict.kind != Verdict::Kind::collect) continue;
    // Another connection has taken its place.
    verdict.done = ends_.take(verdict.key.id).has_value();
  }
}

std::optional<std::vector<std::uint8_t>> Flows::syn(std::uint64_t id) const {
  const auto found = syns_.find(id);
  if (!found || found->bytes > sizeof found->frame) return std::nullopt;
  return std::vector<std::uint8_t>(found->frame, found->frame + found->bytes);
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
  if (!run(sweep_fd_, args)) return {};
  return {args.late, args.undecided, args.flows};
}

Status Flows::keep_headers(std::span<const FlowHeader> headers) const {
  std::vector<std::uint64_t> keys;
  std::vector<sluice_piece> pieces;
  keys.reserve(headers.size());
  pieces.reserve(headers.size());
  for (const auto& header : headers) {
    if (header.bytes.size() > max_promised_header_bytes) {
      return Error(fmt::format("a header of {} bytes does not fit in map pieces", header.bytes.size()));
    }
    for (std::size_t at = 0; at < header.bytes.size(); at += SLUICE_PIECE_BYTES) {
      keys.push_back(SLUICE_PIECE_KEY(header.flow_id, at / SLUICE_PIECE_BYTES));
      const auto piece = header.bytes.subspan(at, std::min<std::size_t>(SLUICE_PIECE_BYTES, header.bytes.size() - at));
      std::copy(piece.begin(), piece.end(), pieces.emplace_back().bytes);
    }
  }
  return pieces_.put_all(keys, pieces);
}

std::optional<Promise> Flows::promised(std::uint64_t flow_id) const {
  const auto found = promises_.find(flow_id);
  if (!found) return std::nullopt;
  Promise promise;
  promise.approved = found->approved;
  std::copy(std::begin(found->digest), std::end(found->digest), promise.digest.begin());
  for (std::uint32_t index = 0; index * SLUICE_PIECE_BYTES < found->header; ++index) {
    const auto piece = pieces_.find(SLUICE_PIECE_KEY(flow_id, index));
    if (!piece) return std::nullopt;
    const auto size = std::min<std::size_t>(SLUICE_PIECE_BYTES, found->header - promise.header.size());
    promise.header.insert(promise.header.end(), piece->bytes, piece->bytes + size);
  }
  return promise;
}

void Flows::drop_promise(std::uint64_t flow_id, std::size_t header) const {
  // What stays is found at the next start.
  static_cast<void>(promises_.remove(flow_id));
  for (std::size_t index = 0; index * SLUICE_PIECE_BYTES < header; ++index) {
    static_cast<void>(pieces_.remove(SLUICE_PIECE_KEY(flow_id, index)));
  }
}

void Flows::drop_promises_without(const std::unordered_set<std::uint64_t>& flows) const {
  for (const auto id : promises_.keys()) {
    if (!flows.contains(id)) static_cast<void>(promises_.remove(id));
  }
  for (const auto key : pieces_.keys()) {
    const auto promise = flows.contains(key >> 4) ? promises_.find(key >> 4) : std::nullopt;
    if (!promise || promise->header == 0) static_cast<void>(pieces_.remove(key));
  }
}

Result<std::uint64_t> Flows::number_of(const std::string& host) {
  if (host.empty()) return std::uint64_t{0};
  if (const auto known = numbers_.find(host); known != numbers_.end()) return known->second;
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
  if (known && host != known->name) return Error("two host names have one number");
  if (!known) {
    if (auto done = hosts_.put(number, entry); !done) return done.error();
  }
  numbers_.emplace(host, number);
  return number;
}

std::string FlowEntries::host(std::uint64_t number) const {
  const auto found = number != 0 ? hosts_.find(number) : std::nullopt;
  return found ? std::string(found->name, ::strnlen(found->name, sizeof found->name)) : std::string();
}

bool Flows::has_many_hosts() const {
  return numbers_.size() > SLUICE_MAX_HOSTS / 2;
}

void Flows::forget_hosts_without(const std::unordered_set<std::uint64_t>& used) {
  for (const auto number : hosts_.keys()) {
    if (!used.contains(number)) static_cast<void>(hosts_.remove(number));
  }
  std::erase_if(numbers_, [&](const auto& one) { return !used.contains(one.second); });
}

std::uint32_t injection_mark(std::uint64_t id) {
  return SLUICE_INJECTION_MARK(id);
}

}  // namespace sluice::kernel

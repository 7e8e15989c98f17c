// Deciding with 10, 1,000 and 100,000 hosts, and compiling them. One service a host, a quarter of the hosts wildcards;
// calls ask for names all over the table, so that the caches are as cold as the table is large.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "policy/snapshot.h"

namespace sluice {
namespace {

std::string base_name(std::size_t number) {
  return "tenant-" + std::to_string(number) + ".region.example.com";
}
bool is_wild(std::size_t number) {
  return number % 4 == 0;
}

std::vector<Service> make_services(std::size_t hosts) {
  std::vector<Service> services(hosts);
  for (std::size_t number = 0; number < hosts; ++number) {
    Service& service = services[number];
    service.namespace_name = "team-" + std::to_string(number % 100);
    service.name = "entry-" + std::to_string(number);
    service.hosts = {(is_wild(number) ? "*." : "") + base_name(number)};
    service.ports = {{80, 80, Protocol::http, "http"}, {443, 443, Protocol::tls, "tls"}};
    service.created = static_cast<std::int64_t>(number);
  }
  return services;
}

enum class Asked { exact, wildcard, miss };

std::vector<std::string> make_names(std::size_t hosts, Asked asked) {
  std::mt19937 random(1);
  std::vector<std::string> names;
  for (int count = 0; count < 4096; ++count) {
    const std::size_t number = random() % hosts / 4 * 4;
    switch (asked) {
      case Asked::exact:
        names.push_back(base_name(number + 1 < hosts ? number + 1 : 1));
        break;
      case Asked::wildcard:
        names.push_back("api.eu." + base_name(number));
        break;
      case Asked::miss:
        names.push_back("api.eu." + base_name(number + hosts));
        break;
    }
  }
  return names;
}

void decide(benchmark::State& state, Asked asked) {
  const auto hosts = static_cast<std::size_t>(state.range(0));
  const auto snapshot = Snapshot::compile({.services = make_services(hosts)});
  const auto names = make_names(hosts, asked);
  Request request{"team-1", IpAddress::parse("203.0.113.9").value(), 443, Sniffed::tls, {}};
  std::size_t next = 0;
  while (state.KeepRunning()) {
    request.host = names[next++ % names.size()];
    const auto verdict = snapshot->decide(request);
    if (verdict.allowed() != (asked != Asked::miss)) {
      state.SkipWithError("the wrong verdict");
      break;
    }
  }
  state.counters["index_bytes_per_host"] = static_cast<double>(snapshot->index_bytes()) / static_cast<double>(hosts);
}
BENCHMARK_CAPTURE(decide, exact, Asked::exact)->Arg(10)->Arg(1'000)->Arg(100'000);
BENCHMARK_CAPTURE(decide, wildcard, Asked::wildcard)->Arg(10)->Arg(1'000)->Arg(100'000);
BENCHMARK_CAPTURE(decide, miss, Asked::miss)->Arg(10)->Arg(1'000)->Arg(100'000);

// The longest name there is, all dots: what a pod can make the lookup cost at most.
void decide_longest_name(benchmark::State& state) {
  const auto snapshot = Snapshot::compile({.services = make_services(static_cast<std::size_t>(state.range(0)))});
  std::string name;
  while (name.size() < 254) name += "a.";
  name += 'a';
  const Request request{"team-1", IpAddress::parse("203.0.113.9").value(), 443, Sniffed::tls, name};
  while (state.KeepRunning()) benchmark::DoNotOptimize(snapshot->decide(request));
}
BENCHMARK(decide_longest_name)->Arg(100'000);

void compile(benchmark::State& state) {
  const auto services = make_services(static_cast<std::size_t>(state.range(0)));
  while (state.KeepRunning()) {
    state.PauseTiming();
    auto copy = services;
    state.ResumeTiming();
    auto snapshot = Snapshot::compile({.services = std::move(copy)});
    benchmark::DoNotOptimize(snapshot);
    state.PauseTiming();
    snapshot.reset();
    state.ResumeTiming();
  }
}
BENCHMARK(compile)->Arg(10)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice

// What the index costs, measured at the allocator and not only by its own account.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "policy/snapshot.h"
#include "services.h"

namespace {

std::atomic<std::size_t> live_bytes = 0;

void* allocate(std::size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  live_bytes += malloc_usable_size(memory);
  return memory;
}

void give_back(void* memory) noexcept {
  if (memory != nullptr) live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size);
}
void* operator new[](std::size_t size) {
  return allocate(size);
}
void operator delete(void* memory) noexcept {
  give_back(memory);
}
void operator delete[](void* memory) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  give_back(memory);
}

namespace sluice {
namespace {

using test::ServiceEntry;

constexpr std::size_t host_count = 100'000;
constexpr std::size_t limit_per_host = 200;

std::string host_name(std::size_t number) {
  return (number % 4 == 0 ? "*.tenant-" : "api-") + std::to_string(number) + ".region.example.com";
}

// The bytes that compile() leaves on the heap, per host.
std::size_t measure(std::vector<Service> services) {
  services.shrink_to_fit();
  const std::size_t before = live_bytes;
  const auto snapshot = Snapshot::compile({.services = std::move(services)});
  const std::size_t used = live_bytes - before;
  EXPECT_EQ(snapshot->host_count(), host_count);
  EXPECT_NEAR(static_cast<double>(snapshot->index_bytes()), static_cast<double>(used), static_cast<double>(used) / 20);
  testing::Test::RecordProperty("bytes_per_host", static_cast<int>(used / host_count));
  return used / host_count;
}

TEST(SnapshotMemory, a_service_for_each_host_costs_less_than_200_bytes_a_host) {
  std::vector<Service> services;
  services.reserve(host_count);
  for (std::size_t number = 0; number < host_count; ++number) {
    services.push_back(ServiceEntry("ns-" + std::to_string(number % 500) + "/entry-" + std::to_string(number))
                           .hosts({host_name(number)})
                           .port(80, Protocol::http)
                           .port(443, Protocol::tls)
                           .export_to(number % 3 == 0 ? std::vector<std::string>{}
                                                      : std::vector{"ns-" + std::to_string(number % 500)}));
  }
  EXPECT_LT(measure(std::move(services)), limit_per_host);
}

TEST(SnapshotMemory, services_of_many_hosts_and_ports_do_not_multiply) {
  std::vector<Service> services;
  for (std::size_t number = 0; number < host_count; number += 250) {
    ServiceEntry entry("ns/entry-" + std::to_string(number));
    std::vector<std::string> hosts;
    std::vector<std::string> namespaces;
    hosts.reserve(250);
    namespaces.reserve(100);
    for (std::size_t host = number; host < number + 250; ++host) hosts.push_back(host_name(host));
    for (int one = 0; one < 100; ++one) namespaces.push_back("ns-" + std::to_string(one));
    for (std::uint16_t port = 1; port <= 200; ++port) entry.port(port, Protocol::tls);
    services.push_back(entry.hosts(std::move(hosts)).export_to(std::move(namespaces)));
  }
  EXPECT_LT(measure(std::move(services)), limit_per_host);
}

}  // namespace
}  // namespace sluice

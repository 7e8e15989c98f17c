// Which addresses of the gateways are worth dialling, from how dialling them went (passive outlier ejection).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "settings/settings.h"

namespace sluice::egress {

// One for all workers; thread-safe, without locks. Times are monotonic nanoseconds.
class GatewayPool {
 public:
  explicit GatewayPool(const settings::Egress& settings);

  // The addresses of gateway number `gateway` in the order to try them, as indices: first one whose ejection is over,
  // if there is one, which no other call gets meanwhile; then those in use, beginning with another one each time; last
  // the ejected ones, for when everything else has failed.
  std::vector<std::size_t> order(std::size_t gateway, std::uint64_t now_ns);

  // Those to send new connections to now, as indices: the ones in use and those whose ejection is over; all, when there
  // are none. Who goes there is not counted as the one that tries.
  std::vector<std::size_t> usable(std::size_t gateway, std::uint64_t now_ns) const;

  // How a dial went. `egress.health.failures` in a row eject the address for `egress.health.ejection`: true, when it
  // is.
  void succeeded(std::size_t gateway, std::size_t address);
  bool failed(std::size_t gateway, std::size_t address, std::uint64_t now_ns);

  // The same for whoever knows where it was dialled only. What is no address of that gateway (any more) is ignored, and
  // never ejected.
  void succeeded(std::size_t gateway, const Endpoint& endpoint);
  bool failed(std::size_t gateway, const Endpoint& endpoint, std::uint64_t now_ns);

  // One line for each address that is left out now.
  std::vector<std::string> wrong(std::uint64_t now_ns) const;

 private:
  struct Address {
    std::atomic<std::uint32_t> failures{0};          // in a row
    std::atomic<std::uint64_t> ejected_until_ns{0};  // 0: in use
  };

  // Its place among the gateway's addresses.
  std::optional<std::size_t> place_of(std::size_t gateway, const Endpoint& endpoint) const;

  const settings::Egress& settings_;
  std::vector<std::vector<std::unique_ptr<Address>>> gateways_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace sluice::egress

#include "kernel/reasons.h"

#include "bpf/abi.h"

namespace sluice::kernel {

std::optional<Reason> reason_of(std::uint32_t number) {
  if (number >= SLUICE_REASONS) return std::nullopt;
  // No default: the compiler names a reason that is missing here.
  switch (static_cast<sluice_reason>(number)) {
    case SLUICE_REASON_PORT_NOT_REGISTERED:
      return Reason::port_not_registered;
    case SLUICE_REASON_ADDRESS_NOT_REGISTERED:
      return Reason::address_not_registered;
    case SLUICE_REASON_UDP_NOT_ALLOWED:
      return Reason::udp_not_allowed;
    case SLUICE_REASON_PROTOCOL_NOT_ALLOWED:
      return Reason::protocol_not_allowed;
    case SLUICE_REASON_SOURCE_SPOOFED:
      return Reason::source_spoofed;
    case SLUICE_REASON_POD_UNKNOWN:
      return Reason::pod_unknown;
    case SLUICE_REASON_POLICY_NOT_READY:
      return Reason::policy_not_ready;
    case SLUICE_REASON_OVERLOADED:
      return Reason::overloaded;
    case SLUICE_REASON_NONE:
    case SLUICE_REASONS:
      break;
  }
  return std::nullopt;
}

}  // namespace sluice::kernel

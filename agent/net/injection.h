// Sending whole frames for connections of others: a helper interface, whose program takes each frame to where it
// belongs, and the packet socket on it (packet(7)).
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/result.h"

namespace sluice::net {

inline constexpr const char* injection_link = "sluice0";
inline constexpr const char* injection_link_peer = "sluice1";

// A veth pair of these names, up, without addresses and large enough for any frame; what is there already is kept. Its
// ifindex. Nothing must be sent on it before a program is attached that lets nothing through to the peer.
Result<unsigned> make_injection_link();
// Fine when there is none.
Status remove_injection_link();

// Belongs to one thread.
class Injector {
 public:
  static Result<Injector> open(unsigned ifindex);

  // One Ethernet frame with packet mark `mark` (SO_MARK). An error when the kernel has no room for it now.
  Status send(ByteSpan frame, std::uint32_t mark);

 private:
  explicit Injector(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace sluice::net

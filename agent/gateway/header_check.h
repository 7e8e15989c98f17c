// May a PROXY header be believed? Every refusal is of Reason::gateway_denied.
//
// A signed header is believed once, within gateway.header_age of its time, from the node whose key signed it, about
// that node's own pods, by the gateway that it names. All replicas of a gateway have one name, and none knows what
// another has seen: there it is hop_source that stops a replay, for it binds the header to one TCP connection's source.
// What remains then is who can send from that very address and port: the node itself, or who can answer for its address
// on the way. With listen.translated the source does not arrive and is not compared. Then whoever read a header on the
// way can use it within header_age once at each replica that has not seen it, as the pod and for the host that it says:
// what is in it cannot be changed. Transport tls, which hides headers, has neither gap.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/ip.h"
#include "gateway/node_keyring.h"
#include "gateway/replay_cache.h"
#include "settings/settings.h"
#include "wire/proxy_v2.h"

namespace sluice::gateway {

// The header's addresses count.
struct VerifiedHeader {
  std::string node;  // whose key signed it; empty: nobody's

  // False: unsigned, from listen.unsigned_from. Nothing that it says about node, pod or account counts.
  bool identity_known() const { return !node.empty(); }
};

struct HeaderRefusal {
  std::string detail;  // for the audit record
};

// One for all workers; thread-safe.
class HeaderCheck {
 public:
  // Both outlive it. `capacity`: of the memory of used headers.
  HeaderCheck(const settings::Gateway& settings, const NodeKeyring& keyring,
              std::size_t capacity = ReplayCache::default_capacity)
      : settings_(settings),
        keyring_(keyring),
        seen_(static_cast<std::uint64_t>(settings.header_age.count()), capacity) {}

  // A header that came from `peer`, as TCP has it, on `listen`; the bytes that were parsed are still there. `now_ms` is
  // since the Unix epoch. A header that passes is used up; one that is refused is not, so that a copy which was sent
  // elsewhere first takes nothing from the true one.
  std::variant<VerifiedHeader, HeaderRefusal> check(const wire::ParsedProxyHeader& parsed, const Endpoint& peer,
                                                    const settings::Listen& listen, std::uint64_t now_ms);

 private:
  // Each: why the header is refused; empty: it is not.
  std::string find_forgery(const wire::ParsedProxyHeader& parsed, const settings::NodeKeys* node) const;
  std::string find_misuse(const wire::ParsedProxyHeader& parsed, const settings::NodeKeys& node, const Endpoint& peer,
                          bool translated, std::uint64_t now_ms) const;
  std::string find_replay(const wire::HeaderSeal& seal, std::uint64_t now_ms);

  const settings::Gateway& settings_;
  const NodeKeyring& keyring_;
  ReplayCache seen_;
};

}  // namespace sluice::gateway

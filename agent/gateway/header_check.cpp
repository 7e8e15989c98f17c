#include "gateway/header_check.h"

#include <fmt/format.h>

#include "tls/digest.h"

namespace sluice::gateway {
namespace {

std::string find_wrong_time(std::uint64_t signed_ms, std::uint64_t now_ms, std::uint64_t age_ms) {
  if (now_ms > signed_ms && now_ms - signed_ms > age_ms) {
    return fmt::format("the header was signed {} ms ago, more than {}", now_ms - signed_ms, age_ms);
  }
  if (signed_ms > now_ms && signed_ms - now_ms > age_ms) {
    return fmt::format("the header was signed {} ms in the future, more than {}: compare the clocks",
                       signed_ms - now_ms, age_ms);
  }
  return {};
}

}  // namespace

std::variant<VerifiedHeader, HeaderRefusal> HeaderCheck::check(const wire::ParsedProxyHeader& parsed,
                                                               const Endpoint& peer, const settings::Listen& listen,
                                                               std::uint64_t now_ms) {
  if (!parsed.seal) {
    if (contains(listen.unsigned_from, peer.address)) return VerifiedHeader{};
    return HeaderRefusal{"the header is not signed"};
  }
  const auto nodes = keyring_.nodes();
  const auto found = nodes->find(parsed.header.node);
  const auto* node = found == nodes->end() ? nullptr : &found->second;
  if (auto forgery = find_forgery(parsed, node); !forgery.empty()) return HeaderRefusal{std::move(forgery)};
  if (auto misuse = find_misuse(parsed, *node, peer, listen.translated, now_ms); !misuse.empty()) {
    return HeaderRefusal{std::move(misuse)};
  }
  if (auto replay = find_replay(*parsed.seal, now_ms); !replay.empty()) return HeaderRefusal{std::move(replay)};
  return VerifiedHeader{parsed.header.node};
}

// Up to here the header is anybody's: its node only tells which keys to try.
std::string HeaderCheck::find_forgery(const wire::ParsedProxyHeader& parsed, const settings::NodeKeys* node) const {
  const auto& name = parsed.header.node;
  if (node == nullptr) return fmt::format("no keys are known of node \"{}\"", name);
  bool key_known = false;
  for (const auto& key : node->keys) {
    if (key.id != parsed.seal->stamp.key_id) continue;
    key_known = true;
    const auto mac = tls::hmac_sha256(key.secret, parsed.seal->signed_bytes);
    if (tls::equal_in_constant_time(mac, parsed.seal->mac)) return {};
  }
  if (key_known) return fmt::format("the signature is not node {}'s", name);
  return fmt::format("signed with a key that node {} does not have", name);
}

std::string HeaderCheck::find_misuse(const wire::ParsedProxyHeader& parsed, const settings::NodeKeys& node,
                                     const Endpoint& peer, bool translated, std::uint64_t now_ms) const {
  const auto& header = parsed.header;
  const auto age_ms = static_cast<std::uint64_t>(settings_.header_age.count());
  if (auto wrong = find_wrong_time(parsed.seal->stamp.time_ms, now_ms, age_ms); !wrong.empty()) return wrong;
  if (header.gateway.empty()) return "the header does not say for which gateway it is";
  if (header.gateway != settings_.name) return fmt::format("the header is for gateway {}", header.gateway);
  if (!contains(node.addresses, header.source.address)) {
    return fmt::format("{} is not in the ranges of node {}", header.source.address.to_string(), header.node);
  }
  if (translated) return {};
  if (!header.hop_source) return "the header does not say from which address it comes";
  if (*header.hop_source != peer) {
    return fmt::format("the header is for a connection from {}, not {}", header.hop_source->to_string(),
                       peer.to_string());
  }
  return {};
}

std::string HeaderCheck::find_replay(const wire::HeaderSeal& seal, std::uint64_t now_ms) {
  switch (seen_.admit(seal.mac, seal.stamp.time_ms, now_ms)) {
    case ReplayCache::Answer::fresh:
      return {};
    case ReplayCache::Answer::replayed:
      return "the header was used before";
    case ReplayCache::Answer::forgotten:
      return "the header may have been used before the clock was set back";
    case ReplayCache::Answer::full:
      return "too many headers to remember: lower gateway.header_age_ms";
  }
  return "not judged";
}

}  // namespace sluice::gateway

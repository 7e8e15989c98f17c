#include "egress/header_signer.h"

#include <algorithm>

#include "base/clock.h"
#include "tls/digest.h"
#include "tls/random.h"

namespace sluice::egress {

Result<std::unique_ptr<HeaderSigner>> HeaderSigner::open(std::string key_file) {
  std::unique_ptr<HeaderSigner> signer(new HeaderSigner(std::move(key_file)));
  signer->reload();
  if (signer->wrong_) return Error(*signer->wrong_);
  return signer;
}

std::vector<std::uint8_t> HeaderSigner::sign(const wire::ProxyHeader& header) const {
  const auto key = key_.get();
  wire::HeaderStamp stamp{.key_id = key->id, .time_ms = static_cast<std::uint64_t>(wall_ns() / 1'000'000), .nonce = {}};
  tls::fill_random(stamp.nonce);
  auto bytes = wire::encode_proxy_header(header, stamp);
  const auto signed_bytes = bytes.size() - wire::header_mac_bytes;
  const auto mac = tls::hmac_sha256(key->secret, ByteSpan(bytes).first(signed_bytes));
  std::ranges::copy(mac, bytes.begin() + static_cast<std::ptrdiff_t>(signed_bytes));
  return bytes;
}

void HeaderSigner::reload() {
  auto version = FileVersion::of(key_file_);
  if (version && *version == version_ && version_.exists()) return;
  version_ = version ? *version : FileVersion{};
  if (!version) {
    wrong_ = version.error().message();
    return;
  }
  const auto keys = settings::load_node_keys(key_file_);
  if (!keys) {
    wrong_ = keys.error().message();
    return;
  }
  key_.set(std::make_shared<const settings::NodeKey>(keys->keys.front()));
  wrong_.reset();
}

}  // namespace sluice::egress

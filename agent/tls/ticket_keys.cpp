#include "tls/ticket_keys.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstdlib>

#include "base/clock.h"
#include "tls/peer.h"

namespace sluice::tls {
namespace {

constexpr std::uint64_t lifetime_ns = std::chrono::nanoseconds(session_lifetime).count();

// There is no safe way to go on without randomness.
void fill_random(std::span<std::uint8_t> bytes) {
  if (::RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) std::abort();
}

int keys_index() {
  static const int index = ::SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

bool set_mac_key(EVP_MAC_CTX* mac, TicketKey& key) {
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      ::OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
      ::OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      ::OSSL_PARAM_construct_end(),
  };
  return ::EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

// SSL_CTX_set_tlsext_ticket_key_evp_cb: 1 sealed, 2 opened and to be renewed, 0 unknown key, -1 failure.
int choose_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
               int seal) noexcept {
  auto& keys = *static_cast<TicketKeys*>(::SSL_CTX_get_ex_data(::SSL_get_SSL_CTX(ssl), keys_index()));
  const auto now_ns = monotonic_ns();
  if (seal) {
    auto key = keys.sealing(now_ns);
    std::copy(key.name.begin(), key.name.end(), name);
    fill_random({iv, static_cast<std::size_t>(::EVP_CIPHER_get_iv_length(::EVP_aes_256_cbc()))});
    const bool ready = ::EVP_EncryptInit_ex(cipher, ::EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv) == 1;
    return ready && set_mac_key(mac, key) ? 1 : -1;
  }
  auto key = keys.opening({name, sizeof TicketKey::name}, now_ns);
  if (!key) return 0;
  const bool ready = ::EVP_DecryptInit_ex(cipher, ::EVP_aes_256_cbc(), nullptr, key->cipher.data(), iv) == 1;
  return ready && set_mac_key(mac, *key) ? 2 : -1;
}

SSL_TICKET_RETURN judge_ticket(SSL*, SSL_SESSION* session, const unsigned char*, std::size_t, SSL_TICKET_STATUS status,
                               void*) noexcept {
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
  // Resuming shows no certificate: the one that the session was made with must still be good.
  const auto* certificate = ::SSL_SESSION_get0_peer(session);
  return certificate && is_expired(certificate) ? SSL_TICKET_RETURN_IGNORE_RENEW : SSL_TICKET_RETURN_USE_RENEW;
}

}  // namespace

TicketKey TicketKeys::sealing(std::uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  if (!current_ || now_ns - current_->born_ns >= lifetime_ns) {
    previous_ = current_;
    current_.emplace();
    fill_random(current_->name);
    fill_random(current_->cipher);
    fill_random(current_->mac);
    current_->born_ns = now_ns;
  }
  return *current_;
}

std::optional<TicketKey> TicketKeys::opening(ByteSpan name, std::uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  for (const auto& key : {current_, previous_}) {
    if (key && now_ns - key->born_ns < 2 * lifetime_ns && std::ranges::equal(key->name, name)) return key;
  }
  return std::nullopt;
}

void TicketKeys::install(SSL_CTX* context) {
  ::SSL_CTX_set_ex_data(context, keys_index(), this);
  ::SSL_CTX_set_tlsext_ticket_key_evp_cb(context, choose_key);
  ::SSL_CTX_set_session_ticket_cb(context, nullptr, judge_ticket, nullptr);
}

}  // namespace sluice::tls

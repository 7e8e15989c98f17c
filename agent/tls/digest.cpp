#include "tls/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdlib>

namespace sluice::tls {
namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  ::EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(::EVP_MD_CTX_new()) {
  require(context_ && ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr) == 1);
}

void Sha256::update(ByteSpan bytes) {
  require(::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Digest Sha256::finish() {
  Digest digest;
  // A null type re-uses the algorithm already fetched: no lookup for each digest.
  require(::EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1 &&
          ::EVP_DigestInit_ex(context_.get(), nullptr, nullptr) == 1);
  return digest;
}

Digest sha256(ByteSpan bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Digest hmac_sha256(ByteSpan key, ByteSpan message) {
  // HMAC() takes a null key for "the key of the call before".
  static constexpr std::uint8_t no_key = 0;
  Digest digest;
  unsigned length = 0;
  require(::HMAC(::EVP_sha256(), key.empty() ? &no_key : key.data(), static_cast<int>(key.size()), message.data(),
                 message.size(), digest.data(), &length) != nullptr &&
          length == digest.size());
  return digest;
}

bool equal_in_constant_time(ByteSpan left, ByteSpan right) {
  return left.size() == right.size() && ::CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

}  // namespace sluice::tls

// SHA-256 and HMAC-SHA256 (OpenSSL EVP). They fail only when memory is exhausted or OpenSSL is broken; then the process
// aborts: there is no safe way to go on without a digest.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.h"

struct evp_md_ctx_st;

namespace sluice::tls {

using Digest = std::array<std::uint8_t, 32>;

// An incremental SHA-256 that is used again and again without allocating. Belongs to one thread.
class Sha256 {
 public:
  Sha256();
  void update(ByteSpan bytes);
  // The digest of everything since construction or the last finish(); starts anew.
  Digest finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

Digest sha256(ByteSpan bytes);
// Any key length; an empty key is a key of zero bytes.
Digest hmac_sha256(ByteSpan key, ByteSpan message);

// Equality whose duration does not tell where the two differ.
bool equal_in_constant_time(ByteSpan left, ByteSpan right);

}  // namespace sluice::tls

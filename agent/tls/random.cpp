#include "tls/random.h"

#include <openssl/rand.h>

#include <cstdlib>

namespace sluice::tls {

void fill_random(std::span<std::uint8_t> out) {
  if (::RAND_bytes(out.data(), static_cast<int>(out.size())) != 1) std::abort();
}

}  // namespace sluice::tls

// Random bytes that nobody can guess (OpenSSL's generator, seeded by the kernel). It fails only when OpenSSL is broken;
// then the process aborts: there is no safe way to go on with guessable ones.
#pragma once

#include <cstdint>
#include <span>

namespace sluice::tls {

// Thread-safe; without a system call but for the generator's own reseeding.
void fill_random(std::span<std::uint8_t> out);

}  // namespace sluice::tls

// Counter-based random numbers: a pure function of a key, so that a sampler's whole state is its counter.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace sparsebp {

// SplitMix64's finaliser (Steele, Lea & Flood, OOPSLA 2014): a bijection whose output bits are well mixed.
SPARSEBP_HOST_DEVICE constexpr std::uint64_t mix64(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

SPARSEBP_HOST_DEVICE constexpr std::uint64_t random_key(std::uint64_t seed, std::uint64_t stream,
                                                        std::uint64_t counter) {
  return mix64(mix64(mix64(seed) ^ stream) ^ counter);
}

// Uniform in [0, bound) by multiplication; the bias is below bound / 2^32.
SPARSEBP_HOST_DEVICE constexpr std::uint32_t random_below(std::uint64_t key, std::uint64_t index, std::uint32_t bound) {
  return static_cast<std::uint32_t>(((mix64(key ^ index) >> 32) * bound) >> 32);
}

// Uniform in the open interval (0, 1).
SPARSEBP_HOST_DEVICE constexpr double random_unit(std::uint64_t key, std::uint64_t index) {
  return (static_cast<double>(mix64(key ^ index) >> 11) + 0.5) * (1.0 / 9007199254740992.0);
}

}  // namespace sparsebp

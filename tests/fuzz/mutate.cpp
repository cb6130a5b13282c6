// Half of the inputs are bytes at random: every one is another program, where libFuzzer's own changes stay near those
// it has.
#include <cstddef>
#include <cstdint>

#include "core/random.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  if (seed % 2 == 0) return LLVMFuzzerMutate(data, size, most);
  const std::uint64_t key = sparsebp::mix64(seed);
  const std::size_t count = 1 + sparsebp::random_below(key, 0, static_cast<std::uint32_t>(most));
  for (std::size_t i = 0; i < count; ++i) data[i] = static_cast<std::uint8_t>(sparsebp::random_below(key, i + 1, 256));
  return count;
}

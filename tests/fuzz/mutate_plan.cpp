// A file whose bytes move is no file any more: half of the changes leave every byte where it is, and one in eight is
// another plan.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/random.h"
#include "plan_bytes.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  const std::uint64_t key = sparsebp::mix64(seed);
  if (seed % 8 == 0) {
    std::uint8_t choices[256];
    for (std::size_t i = 0; i < sizeof choices; ++i) {
      choices[i] = static_cast<std::uint8_t>(sparsebp::random_below(key, i, 256));
    }
    fuzz::Choices made(choices, sizeof choices);
    const auto bytes = fuzz::make_plan_bytes(made);
    if (!bytes.empty() && bytes.size() <= most) return std::copy(bytes.begin(), bytes.end(), data) - data;
  }
  if (size == 0 || seed % 2 == 0) return LLVMFuzzerMutate(data, size, most);
  const std::uint32_t changes = 1 + sparsebp::random_below(key, 0, 4);
  for (std::uint32_t i = 0; i < changes; ++i) {
    const std::uint32_t draw = 3 * i;
    std::uint8_t& byte = data[sparsebp::random_below(key, draw + 1, static_cast<std::uint32_t>(size))];
    const auto value = static_cast<std::uint8_t>(sparsebp::random_below(key, draw + 2, 256));
    byte = sparsebp::random_below(key, draw + 3, 2) == 0 ? value : static_cast<std::uint8_t>(byte ^ 1u << value % 8);
  }
  return size;
}

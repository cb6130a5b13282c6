// A fuzzer's bytes as a row of choices. Where they end, every choice is the first one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/shape.h"

namespace fuzz {

using sparsebp::Index;

class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  bool any() const { return next_ != end_; }
  std::uint8_t byte() { return any() ? *next_++ : 0; }
  std::uint64_t word() {
    std::uint64_t all = 0;
    for (int i = 0; i < 8; ++i) all = all << 8 | byte();
    return all;
  }

  // 0 to bound - 1, for bounds up to 256.
  Index below(Index bound) { return bound > 1 ? byte() % bound : 0; }
  Index from(Index least, Index most) { return least + below(most - least + 1); }
  bool flag() { return (byte() & 1) != 0; }
  // True once in so many times.
  bool rarely(Index times) { return below(times) == times - 1; }

  template <class T, std::size_t kCount>
  const T& of(const T (&all)[kCount]) {
    return all[below(static_cast<Index>(kCount))];
  }

 private:
  const std::uint8_t *next_, *end_;
};

}  // namespace fuzz

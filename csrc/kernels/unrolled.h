// A loop that the compiler has no choice but to unroll: what lies in an array that such loops alone index stays in
// registers, whatever stands between them. (Around a masked load GCC writes such an array to memory otherwise.)
#pragma once

#include <utility>

namespace sparsebp {
namespace {

template <class F, int... i>
[[gnu::always_inline]] inline void unrolled(const F& body, std::integer_sequence<int, i...>) {
  (body(std::integral_constant<int, i>()), ...);
}

// body(i) for i = 0, 1, ... kCount - 1, each a constant.
template <int kCount, class F>
[[gnu::always_inline]] inline void unrolled(const F& body) {
  unrolled(body, std::make_integer_sequence<int, kCount>());
}

// body(row, vector) for the vectors of a tile, row by row.
template <int kRows, int kVectors, class F>
[[gnu::always_inline]] inline void for_tile(const F& body) {
  unrolled<kRows * kVectors>([&](auto i) __attribute__((always_inline)) {
    body(std::integral_constant<int, i / kVectors>(), std::integral_constant<int, i % kVectors>());
  });
}

}  // namespace
}  // namespace sparsebp

// Products of two packed panels of kPanel rows at once: (k x 2 kPanel) transposed, times (k x columns), as two squares.
#pragma once

#include "kernels/args.h"

namespace sparsebp {
namespace {

// Where a vector is a whole panel, two panels share a tile: a broadcast serves two products, and a load is no longer
// what a product waits for.
template <class V>
constexpr bool kTakesPairs = V::width == kPanel;

constexpr int kPairRows = 8;  // sixteen sums hide the latency of an FMA

// `kRows` rows of two squares, from row `row` on, for panels that lie `panel` elements apart.
template <class V, int kRows>
inline void pair_tile(const GemmArgs<typename V::value>& args, Index row, Index panel, typename V::value* square) {
  using T = typename V::value;
  V sums[kRows][2];
  const T* a[kRows];
  for (int r = 0; r < kRows; ++r) {
    sums[r][0] = sums[r][1] = V::set(0);
    a[r] = args.a + (row + r) * args.a_row;
  }
  const T* b = args.b;
  for (Index at = 0; at < args.sum.n1 * args.sum.n2;) {
    for (int r = 0; r < kRows; ++r) __builtin_prefetch(a[r] + at + kRows * args.a_row);
    for (Index i = 0; i < args.sum.n1; ++i, ++at, b += kPanel) {
      const V first = V::load(b), second = V::load(b + panel);
      for (int r = 0; r < kRows; ++r) {
        const V left = V::broadcast(a[r] + at);
        sums[r][0] = V::fma(left, first, sums[r][0]);
        sums[r][1] = V::fma(left, second, sums[r][1]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    sums[r][0].store(square + (row + r) * kPanel);
    sums[r][1].store(square + kPanel * kPanel + (row + r) * kPanel);
  }
}

// The tile of `rows` <= kRows rows.
template <class V, int kRows>
inline void pair_tile_of(const GemmArgs<typename V::value>& args, Index row, Index rows, Index panel,
                         typename V::value* square) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return pair_tile_of<V, kRows - 1>(args, row, rows, panel, square);
  }
  pair_tile<V, kRows>(args, row, panel, square);
}

// Both squares, in tiles as equal as can be.
template <class V>
inline void pair_of_squares(const GemmArgs<typename V::value>& args, Index panel, typename V::value* square) {
  Index row = 0;
  for (Index tiles = (args.rows + kPairRows - 1) / kPairRows; tiles > 0; --tiles) {
    const Index rows = (args.rows - row + tiles - 1) / tiles;
    pair_tile_of<V, kPairRows>(args, row, rows, panel, square);
    row += rows;
  }
}

}  // namespace
}  // namespace sparsebp

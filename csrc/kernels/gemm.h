// Matrix product with an epilogue: c = a (rows x k) b (k x cols), or c += that, and then, if asked,
// activation(scale * c + shift) + residual.
//
// a: row r starts at a + r * a_row; b: contiguous along the columns of a panel; the k loop is the SumLoop. c may alias
// neither, except that `residual` may be read from anywhere. Tails in both directions; absent columns are never
// touched.
#pragma once

#include "kernels/mask_bits.h"
#include "kernels/tile.h"

namespace sparsebp {
namespace {

// What takes a tile is always inlined: its registers would have to go through memory to be handed over.

// act(scale * acc + shift) + residual for a tile whose first element is row `row`, column `col` of the matrix. One
// question at a time, for all of the tile: with few terms a sum costs no more than what follows it.
template <class V, int kRows, bool kFull, int kVectors>
[[gnu::always_inline]] inline void transform_tile(V (&acc)[kRows][kVectors], Index row, Index col,
                                                  const Columns<V, kVectors, kFull>& columns,
                                                  const Affine<typename V::value>& affine) {
  using T = typename V::value;
  unrolled<kVectors>([&](auto v) __attribute__((always_inline)) {
    const V shift = affine.shift != nullptr ? columns.load(affine.shift + col, v) : V::set(T(0));
    const V scale = affine.scale != nullptr ? columns.load(affine.scale + col, v) : V::set(T(1));
    unrolled<kRows>([&](auto r) __attribute__((always_inline)) { acc[r][v] = V::fma(scale, acc[r][v], shift); });
  });
  if (affine.activation != Activation::identity) {
    const V zero = V::set(T(0));
    for_tile<kRows, kVectors>([&](auto r, auto v)
                                  __attribute__((always_inline)) { acc[r][v] = V::max(acc[r][v], zero); });
  }
  if (affine.activation == Activation::relu6) {
    const V six = V::set(T(6));
    for_tile<kRows, kVectors>([&](auto r, auto v)
                                  __attribute__((always_inline)) { acc[r][v] = V::min(acc[r][v], six); });
  }
  if (affine.residual != nullptr) {
    const T* residual = affine.residual + row * affine.residual_row + col;
    for_tile<kRows, kVectors>([&](auto r, auto v) __attribute__((always_inline)) {
      acc[r][v] = V::add(acc[r][v], columns.load(residual + r * affine.residual_row, v));
    });
  }
}

// Writes one finished tile, whose first `cols` columns exist.
template <class V, int kRows, bool kFull, int kVectors>
[[gnu::always_inline]] inline void finish_tile(V (&acc)[kRows][kVectors], typename V::value* c, Index c_row, Index row,
                                               Index col, Index cols, const Columns<V, kVectors, kFull>& columns,
                                               Store store, const Affine<typename V::value>& affine) {
  const bool accumulate = (static_cast<int>(store) & 1) != 0, transform = (static_cast<int>(store) & 2) != 0;
  if (accumulate) {
    for_tile<kRows, kVectors>([&](auto r, auto v) __attribute__((always_inline)) {
      acc[r][v] = V::add(columns.load(c + r * c_row, v), acc[r][v]);
    });
  }
  if (transform) transform_tile(acc, row, col, columns, affine);
  for_tile<kRows, kVectors>([&](auto r, auto v)
                                __attribute__((always_inline)) { columns.store(c + r * c_row, v, acc[r][v]); });
  if (transform && affine.mask != nullptr) {
    const Index panel = affine.mask_panel > 0 ? affine.mask_panel : kPanel / 8;
    std::uint8_t* bits = affine.mask + row * affine.mask_row + col / kPanel * panel + col % kPanel / 8;
    write_tile_mask<V, kFull>(acc, c, c_row, cols, affine.activation, bits, affine.mask_row, panel);
  }
}

template <class V, int kVectors, int kRows, bool kFull>
inline void gemm_tile(const GemmArgs<typename V::value>& args, Index row, Index col, Index cols) {
  using T = typename V::value;
  using Tile = Tile<V, kVectors>;
  const Columns<V, kVectors, kFull> columns(cols);
  V acc[kRows][kVectors];
  T* c = args.c + row * args.c_row + col;
  if (args.start == Start::zero) {
    Tile::template clear<kRows>(acc);
  } else {
    Tile::template load_rows<kRows, kFull>(acc, c, args.c_row, columns);
  }
  // Rows of b that lie far apart are nothing a processor foresees: the first tile of some columns fetches the next.
  Ahead ahead;
  constexpr int kLines = kVectors * V::width > kPanel ? 2 : 1;
  if (row == 0 && args.sum.b1 > kLines * kPanel) ahead.b = kLines * kPanel;
  const T* b = args.b + col / kPanel * args.b_panel + col % kPanel;
  if (args.sum.n2 > 1) ahead.a = kRows * args.a_row;
  Tile::template sum<kRows, kFull, kLines>(acc, args.a + row * args.a_row, args.a_row, b, args.sum, columns, ahead,
                                           args.b_panel - kPanel);
  finish_tile(acc, c, args.c_row, row, col, cols, columns, args.store, args.affine);
}

// The tile of `rows` <= kRows rows.
template <class V, int kVectors, int kRows, bool kFull>
inline void gemm_tile_of(const GemmArgs<typename V::value>& args, Index row, Index rows, Index col, Index cols) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      gemm_tile_of<V, kVectors, kRows - 1, kFull>(args, row, rows, col, cols);
      return;
    }
  }
  gemm_tile<V, kVectors, kRows, kFull>(args, row, col, cols);
}

// Tiles as equal as can be. Sixteen rows are 6 + 5 + 5 and not 6 + 6 + 4, forty-nine nowhere leave one alone: with few
// rows there are too few independent sums to hide the latency of an FMA.
template <class V, int kVectors, int kMostRows, bool kFull>
inline void gemm_columns(const GemmArgs<typename V::value>& args, Index col, Index cols) {
  Index row = 0;
  for (Index tiles = (args.rows + kMostRows - 1) / kMostRows; tiles > 0; --tiles) {
    const Index rows = (args.rows - row + tiles - 1) / tiles;
    gemm_tile_of<V, kVectors, kMostRows, kFull>(args, row, rows, col, cols);
    row += rows;
  }
}

// `cols` <= kVectors vectors of columns from `col` on.
template <class V, int kVectors, int kMostRows>
inline void gemm_vectors(const GemmArgs<typename V::value>& args, Index col, Index cols) {
  if constexpr (!V::masks_are_free) {
    if (cols == kVectors * V::width) return gemm_columns<V, kVectors, kMostRows, true>(args, col, cols);
  }
  gemm_columns<V, kVectors, kMostRows, false>(args, col, cols);
}

// A tile of whole panels, or of less than one where that is what is left: then half as wide and twice as high, if it is
// half a panel or less. Where a vector is a whole panel, a tile is two of them if there are as many: each number that
// is broadcast serves two products, and loads are no longer what a product waits for.
template <class V>
void gemm(const GemmArgs<typename V::value>& args) {
  constexpr int kVectors = panel_vectors(V::width), kRows = V::tile_rows;
  for (Index col = 0; col < args.cols;) {
    const Index left = args.cols - col;
    if constexpr (kVectors == 1) {
      if (left > kPanel) {
        gemm_vectors<V, 2, V::pair_rows>(args, col, left < kPair ? left : kPair);
        col += kPair;
        continue;
      }
    } else if (left <= kPanel / 2) {
      gemm_vectors<V, kVectors / 2, 2 * kRows>(args, col, left);
      return;
    }
    gemm_vectors<V, kVectors, kRows>(args, col, left < kPanel ? left : kPanel);
    col += kPanel;
  }
}

}  // namespace
}  // namespace sparsebp

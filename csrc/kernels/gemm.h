// Matrix product with an epilogue: c = a (rows x k) b (k x cols), or c += that, and then, if asked,
// activation(scale * c + shift) + residual.
//
// a: row r starts at a + r * a_row; b: column-contiguous; the k loop is the SumLoop. c may alias neither, except that
// `residual` may be read from anywhere. Tails in both directions; absent columns are never touched.
#pragma once

#include "kernels/tile.h"

namespace sparsebp {
namespace {

// What takes a tile is always inlined: its registers would have to go through memory to be handed over.

// act(scale * acc + shift) + residual for a tile whose first element is row `row`, column `col` of the matrix. One
// question at a time, for all of the tile: with few terms a sum costs no more than what follows it.
template <class V, int kRows, bool kFull, int kVectors>
[[gnu::always_inline]] inline void transform_tile(V (&acc)[kRows][kVectors], Index row, Index col, Index cols,
                                                  const Affine<typename V::value>& affine) {
  using T = typename V::value;
  using Tile = Tile<V, kVectors>;
  for (int v = 0; v < kVectors; ++v) {
    const V shift = affine.shift != nullptr ? Tile::template load<kFull>(affine.shift + col, v, cols) : V::set(T(0));
    const V scale = affine.scale != nullptr ? Tile::template load<kFull>(affine.scale + col, v, cols) : V::set(T(1));
    for (int r = 0; r < kRows; ++r) acc[r][v] = V::fma(scale, acc[r][v], shift);
  }
  if (affine.activation != Activation::identity) {
    const V zero = V::set(T(0));
    for (auto& vectors : acc) {
      for (V& y : vectors) y = V::max(y, zero);
    }
  }
  if (affine.activation == Activation::relu6) {
    const V six = V::set(T(6));
    for (auto& vectors : acc) {
      for (V& y : vectors) y = V::min(y, six);
    }
  }
  if (affine.residual != nullptr) {
    for (int r = 0; r < kRows; ++r) {
      const T* residual = affine.residual + (row + r) * affine.residual_row + col;
      for (int v = 0; v < kVectors; ++v) acc[r][v] = V::add(acc[r][v], Tile::template load<kFull>(residual, v, cols));
    }
  }
}

// Writes one finished tile.
template <class V, int kRows, bool kFull, int kVectors>
[[gnu::always_inline]] inline void finish_tile(V (&acc)[kRows][kVectors], typename V::value* c, Index c_row, Index row,
                                               Index col, Index cols, Store store,
                                               const Affine<typename V::value>& affine) {
  using Tile = Tile<V, kVectors>;
  const bool accumulate = (static_cast<int>(store) & 1) != 0, transform = (static_cast<int>(store) & 2) != 0;
  if (accumulate) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = V::add(Tile::template load<kFull>(c + r * c_row, v, cols), acc[r][v]);
      }
    }
  }
  if (transform) transform_tile<V, kRows, kFull, kVectors>(acc, row, col, cols, affine);
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) Tile::template store<kFull>(c + r * c_row, v, cols, acc[r][v]);
  }
  if (transform && affine.mask != nullptr) {
    write_mask<V>(c, c_row, kRows, cols, affine.activation, affine.mask + row * affine.mask_row + col / 8,
                  affine.mask_row);
  }
}

template <class V, int kVectors, int kRows, bool kFull>
inline void gemm_tile(const GemmArgs<typename V::value>& args, Index row, Index col, Index cols) {
  using T = typename V::value;
  using Tile = Tile<V, kVectors>;
  V acc[kRows][kVectors];
  T* c = args.c + row * args.c_row + col;
  if (args.start == Start::zero) {
    Tile::template clear<kRows>(acc);
  } else {
    Tile::template load_rows<kRows, kFull>(acc, c, args.c_row, cols);
  }
  // Rows of b that lie far apart are nothing a processor foresees: the first tile of a panel fetches the next panel.
  Ahead ahead;
  if (row == 0 && args.sum.b1 > kPanel) ahead.b = kPanel;
  if (args.sum.n2 > 1) ahead.a = kRows * args.a_row;
  Tile::template sum<kRows, kFull>(acc, args.a + row * args.a_row, args.a_row, args.b + col, args.sum, cols, ahead);
  finish_tile<V, kRows, kFull, kVectors>(acc, c, args.c_row, row, col, cols, args.store, args.affine);
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

// What is left of a matrix may be half a panel or less: such tiles are half as wide and twice as high.
template <class V>
void gemm(const GemmArgs<typename V::value>& args) {
  constexpr int kVectors = panel_vectors(V::width), kRows = V::tile_rows;
  for (Index col = 0; col < args.cols; col += kPanel) {
    const Index cols = args.cols - col < kPanel ? args.cols - col : kPanel;
    if constexpr (kVectors > 1) {
      if (cols == kPanel / 2) {
        gemm_columns<V, kVectors / 2, 2 * kRows, true>(args, col, cols);
        continue;
      }
      if (cols < kPanel / 2) {
        gemm_columns<V, kVectors / 2, 2 * kRows, false>(args, col, cols);
        continue;
      }
    }
    if (cols == kPanel) {
      gemm_columns<V, kVectors, kRows, true>(args, col, cols);
    } else {
      gemm_columns<V, kVectors, kRows, false>(args, col, cols);
    }
  }
}

}  // namespace
}  // namespace sparsebp

// Matrix product of two operands that are both contiguous along k: c (rows x cols), plain or added to,
// = b (rows x k) a^T (k x cols), where b comes as packed panels of kPanel of its rows (PackArgs).
//
// For few rows: an input gradient with the weights as a. Packing the gradient, a few rows, is cheaper than packing the
// weights, and the weights are read once, in the order in which they lie. Squares of kPanel x kPanel are summed the
// other way around, as columns of c, and transposed in registers on their way out.
#pragma once

#include "kernels/gemm.h"
#include "kernels/panel_pairs.h"

namespace sparsebp {
namespace {

// c[i][j] (+)= square[j][i] for i < rows, j < cols.
template <class V>
inline void store_square(const typename V::value* square, typename V::value* c, Index c_row, Index rows, Index cols,
                         bool accumulate) {
  constexpr Index kSide = V::width;
  for (Index i = 0; i < rows; i += kSide) {
    for (Index j = 0; j < cols; j += kSide) {
      V lanes[kSide];
      for (Index s = 0; s < kSide; ++s) lanes[s] = V::load(square + (j + s) * kPanel + i);
      V::transpose(lanes);
      const Index end = rows - i < kSide ? rows - i : kSide;
      const int width = static_cast<int>(cols - j < kSide ? cols - j : kSide);
      for (Index s = 0; s < end; ++s) {
        auto* out = c + (i + s) * c_row + j;
        const bool whole = width == kSide;
        V y = lanes[s];
        if (accumulate) y = V::add(whole ? V::load(out) : V::load_some(out, width), y);
        if (whole) {
          y.store(out);
        } else {
          y.store_some(out, width);
        }
      }
    }
  }
}

// k terms in runs of a cache line, each of which fetches a line of the next weights. A k that does not split so is one
// run.
inline SumLoop runs(Index k) {
  constexpr Index kLine = 16;
  const Index run = k % kLine == 0 ? kLine : k;
  SumLoop sum;
  sum.n1 = run, sum.n2 = run > 0 ? k / run : 0;
  sum.a2 = run, sum.b1 = kPanel, sum.b2 = run * kPanel;
  return sum;
}

template <class V>
void gemm_transposed(const GemmTransposedArgs<typename V::value>& args) {
  using T = typename V::value;
  constexpr Index kSquare = kPanel * kPanel;
  alignas(64) T squares[2 * kSquare] = {};  // rows that do not exist stay zero
  for (Index col = 0; col < args.cols; col += kPanel) {
    GemmArgs<T> part{};
    part.a = args.a + col * args.a_row, part.a_row = args.a_row;
    part.c = squares, part.c_row = kPanel;
    part.rows = args.cols - col < kPanel ? args.cols - col : kPanel;
    part.sum = runs(args.k);
    part.store = Store::assign;
    const auto finish = [&](const T* square, Index row, Index rows) {
      store_square<V>(square, args.c + row * args.c_row + col, args.c_row, rows, part.rows, args.accumulate);
    };
    for (Index row = 0; row < args.rows;) {
      const Index left = args.rows - row;
      part.b = args.panels + row / kPanel * args.panel;
      if constexpr (kTakesPairs<V>) {
        if (left > kPanel) {
          pair_of_squares<V>(part, args.panel, squares);
          finish(squares, row, kPanel);
          finish(squares + kSquare, row + kPanel, left < kPair ? left - kPanel : kPanel);
          row += kPair;
          continue;
        }
      }
      // The panels are zero where c has no rows: whole vectors cost no more than parts.
      part.cols = left > kPanel / 2 ? kPanel : kPanel / 2;
      gemm<V>(part);
      finish(squares, row, left < kPanel ? left : kPanel);
      row += kPanel;
    }
  }
}

}  // namespace
}  // namespace sparsebp

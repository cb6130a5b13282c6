// Rows of a weight gradient, reduced in registers and used at once: added to the weights (SGD) or to a gradient sum.
//
// Up to kWeightRows rows (one per selected input channel) times kPanel output channels share a tile; the reduction
// over pixels follows the SumLoop. No gradient tensor exists when the update is applied in place.
#pragma once

#include "kernels/tile.h"

namespace sparsebp {
namespace {

// w -= rate * (momentum * m + g + decay * w), torch.optim.SGD's rule without dampening.
template <class V>
inline V sgd_step(V w, V g, V* m, const Sgd& sgd) {
  using T = typename V::value;
  if (sgd.weight_decay != 0) g = V::fma(V::set(static_cast<T>(sgd.weight_decay)), w, g);
  if (m != nullptr) {
    g = V::fma(V::set(static_cast<T>(sgd.momentum)), *m, g);
    *m = g;
  }
  return V::fma(V::set(static_cast<T>(-sgd.rate)), g, w);
}

template <class V, bool kFull, int kVectors>
[[gnu::always_inline]] inline void finish_weight_row(V (&acc)[kVectors], const WeightRow<typename V::value>& row,
                                                     const WeightGradArgs<typename V::value>& args, Index col,
                                                     const Columns<V, kVectors, kFull>& columns, V& squares) {
  for (int v = 0; v < kVectors; ++v) {
    V g = acc[v];
    if (args.scale != nullptr) g = V::mul(g, columns.load(args.scale + col, v));
    if (row.squared_norm != nullptr) squares = V::fma(g, g, squares);
    if (row.sum != nullptr) {
      columns.store(row.sum + col, v, V::add(columns.load(row.sum + col, v), g));
      continue;
    }
    const V w = columns.load(row.weight + col, v);
    if (row.momentum != nullptr) {
      V m = columns.load(row.momentum + col, v);
      const V next = sgd_step(w, g, &m, args.sgd);
      columns.store(row.momentum + col, v, m);
      columns.store(row.weight + col, v, next);
    } else {
      columns.store(row.weight + col, v, sgd_step<V>(w, g, nullptr, args.sgd));
    }
  }
}

// `squares` gets the squares of each row's gradient added, for those that want their norm.
template <class V, int kRows, int kPanels, bool kFull>
inline void weight_grad_tile(const WeightGradArgs<typename V::value>& args, int first, const typename V::value* b,
                             const SumLoop& sum, Index col, Index cols, V (&squares)[kRows]) {
  using T = typename V::value;
  constexpr int kVectors = kPanels * panel_vectors(V::width);
  using Tile = Tile<V, kVectors>;
  const Columns<V, kVectors, kFull> columns(cols);
  V acc[kRows][kVectors];
  Tile::template clear<kRows>(acc);
  const T* a[kRows];
  for (int r = 0; r < kRows; ++r) a[r] = args.rows[first + r].a;
  Tile::template sum<kRows, kFull>(acc, a, b, sum, columns);
  for (int r = 0; r < kRows; ++r) {
    finish_weight_row(acc[r], args.rows[first + r], args, col, columns, squares[r]);
  }
}

// Lane by lane it was summed in the numbers' own precision, of which a mean square keeps more than enough.
template <class V>
inline void add_squared_norm(V squares, float* norm) {
  if (norm == nullptr) return;
  typename V::value lanes[V::width];
  squares.store(lanes);
  double total = 0;
  for (const auto lane : lanes) total += static_cast<double>(lane);
  *norm += static_cast<float>(total);
}

// `kRows` rows from `first` on. The fewer the rows, the wider the tile: it takes eight sums that do not wait for each
// other to hide the latency of an FMA (4 cycles, two a cycle), and the gradient is read once rather than panel by
// panel.
template <class V, int kRows>
inline void weight_grad_rows(const WeightGradArgs<typename V::value>& args, int first) {
  constexpr int kSums = kRows * panel_vectors(V::width), kPanels = kSums < 8 ? 8 / kSums : 1;
  V squares[kRows];
  for (V& square : squares) square = V::set(0);
  SumLoop sum = args.sum;
  const typename V::value* b = args.b;
  Index col = 0;
  for (Index part = 1; col < args.cols; ++part) {
    Index end = args.cols;
    if (args.parts.count > 0) {
      const Index all = args.parts.begin(part);
      b = args.b + col * sum.n1, sum.b1 = all - col;
      if (all < end) end = all;
    }
    for (; col + kPanels * kPanel <= end; col += kPanels * kPanel, b += kPanels * kPanel) {
      weight_grad_tile<V, kRows, kPanels, true>(args, first, b, sum, col, kPanels * kPanel, squares);
    }
    for (; col + kPanel <= end; col += kPanel, b += kPanel) {
      weight_grad_tile<V, kRows, 1, true>(args, first, b, sum, col, kPanel, squares);
    }
    if (col < end) weight_grad_tile<V, kRows, 1, false>(args, first, b, sum, col, end - col, squares), col = end;
  }
  for (int r = 0; r < kRows; ++r) add_squared_norm(squares[r], args.rows[first + r].squared_norm);
}

template <class V>
void weight_grad(const WeightGradArgs<typename V::value>& args) {
  if (args.row_count == kWeightRows) return weight_grad_rows<V, kWeightRows>(args, 0);
  int row = 0;
  for (; row + 2 <= args.row_count; row += 2) weight_grad_rows<V, 2>(args, row);
  if (row < args.row_count) weight_grad_rows<V, 1>(args, row);
}

template <class V>
void sgd(const SgdArgs<typename V::value>& args) {
  for (Index i = 0; i < args.count; i += V::width) {
    const int left = static_cast<int>(args.count - i < V::width ? args.count - i : V::width);
    const V w = V::load_some(args.weight + i, left), g = V::load_some(args.grad + i, left);
    V m = args.momentum != nullptr ? V::load_some(args.momentum + i, left) : V::set(0);
    const V next = sgd_step(w, g, args.momentum != nullptr ? &m : nullptr, args.sgd);
    if (args.momentum != nullptr) m.store_some(args.momentum + i, left);
    next.store_some(args.weight + i, left);
  }
}

}  // namespace
}  // namespace sparsebp

// Sums that a matrix product or a convolution is made of, and what they come to.
#pragma once

#include "kernel_cases.h"

namespace sparsebp {

// A plain matrix product, one of a single term, an empty one, and a convolution's three nested sums.
inline SumLoop sum_loop(int kind, Index b_row) {
  SumLoop sum;
  sum.b1 = b_row;
  if (kind == 0) sum.n1 = 29;
  if (kind == 2) sum.n1 = 0;
  if (kind == 3) {
    sum.n1 = 3, sum.n2 = 2, sum.n3 = 2;
    sum.a1 = 2, sum.a2 = 7, sum.a3 = 19;
    sum.b2 = 4 * b_row, sum.b3 = 9 * b_row;
  }
  return sum;
}

inline Index reach(Index n, Index step) { return n > 0 ? (n - 1) * step : 0; }
inline Index reach_a(const SumLoop& s) { return reach(s.n1, s.a1) + reach(s.n2, s.a2) + reach(s.n3, s.a3); }
inline Index reach_b(const SumLoop& s) { return reach(s.n1, s.b1) + reach(s.n2, s.b2) + reach(s.n3, s.b3); }

// sum of a[...] * b[...] over the loop.
template <class T>
Exact product(const T* a, const T* b, const SumLoop& s) {
  Exact sum;
  for (Index k3 = 0; k3 < s.n3; ++k3) {
    for (Index k2 = 0; k2 < s.n2; ++k2) {
      for (Index k1 = 0; k1 < s.n1; ++k1) {
        sum.add(a[k3 * s.a3 + k2 * s.a2 + k1 * s.a1], b[k3 * s.b3 + k2 * s.b2 + k1 * s.b1]);
      }
    }
  }
  return sum;
}

}  // namespace sparsebp

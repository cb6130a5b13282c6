// Any activation without numbers of its own, on a run of elements.
#pragma once

#include <algorithm>

#include "kernels/table.h"

namespace sparsebp {

// `count` elements through an activation, from x to y; and their gradients, from what they were before it.
template <class T>
void activate(const Kernels<T>& kernels, Activation activation, const T* x, T* y, Index count) {
  if (activation != Activation::identity) return kernels.curve_forward({activation, 1, 0, x, y, count, nullptr, 0});
  if (x != y) std::copy_n(x, count, y);
}
template <class T>
void activate_backward(const Kernels<T>& kernels, Activation activation, const T* x, T* g, Index count) {
  if (activation == Activation::identity) return;
  kernels.curve_backward({activation, 1, 0, x, nullptr, 0, g, g, false, count});
}

}  // namespace sparsebp

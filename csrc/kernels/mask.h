// Activations on their own. Forward: clamp, and one bit per element that the gradient passes. Backward: gradients that
// do not pass become zero, and what passes is summed per channel.
#pragma once

#include "kernels/depthwise.h"

namespace sparsebp {
namespace {

template <class V>
void activation_forward(const ActivationArgs<typename V::value>& args) {
  for (Index m = 0; m < args.rows; ++m) {
    const auto* x = args.x + m * args.row;
    auto* y = args.y + m * args.row;
    for (Index c = 0; c < args.cols; c += V::width) {
      const int lanes = static_cast<int>(args.cols - c < V::width ? args.cols - c : V::width);
      store_lanes<V>(y + c, lanes, activate(load_lanes<V>(x + c, lanes), args.activation));
    }
  }
  if (args.mask != nullptr) {
    write_mask<V>(args.y, args.row, args.rows, args.cols, args.activation, args.mask, args.mask_row);
  }
}

template <class V>
void mask(const MaskArgs<typename V::value>& args) {
  using T = typename V::value;
  if (args.mask != nullptr) {
    for (Index m = 0; m < args.rows; ++m) {
      T* g = args.g + m * args.g_row;
      const std::uint8_t* bits = args.mask + m * args.mask_row;
      Index c = 0;
      for (; c + 8 <= args.cols; c += 8) V::keep8(g + c, bits[c / 8]);
      for (; c < args.cols; ++c) {
        if ((bits[c / 8] >> (c % 8) & 1) == 0) g[c] = T(0);
      }
    }
  }
  if (args.sum == nullptr) return;
  for (Index c = 0; c < args.cols; c += V::width) {
    const int lanes = static_cast<int>(args.cols - c < V::width ? args.cols - c : V::width);
    V total = V::set(T(0));
    // Sums of 64 rows first: the rounding error then grows with the number of blocks, not of rows.
    for (Index block = 0; block < args.rows; block += 64) {
      const Index end = block + 64 < args.rows ? block + 64 : args.rows;
      V part = V::set(T(0));
      for (Index m = block; m < end; ++m) part = V::add(part, load_lanes<V>(args.g + m * args.g_row + c, lanes));
      total = V::add(total, part);
    }
    store_lanes<V>(args.sum + c, lanes, total);
  }
}

}  // namespace
}  // namespace sparsebp

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

// Sums of 64 rows first: the rounding error then grows with the number of blocks, not of rows.
constexpr Index kSumRows = 64;

// Rows [begin, end) of one vector of columns: masked and summed in one go.
template <class V, bool kMasked>
inline V mask_vector(const MaskArgs<typename V::value>& args, Index begin, Index end, Index c) {
  V total = V::set(0);
  for (Index block = begin; block < end; block += kSumRows) {
    const Index block_end = block + kSumRows < end ? block + kSumRows : end;
    V part = V::set(0);
    for (Index m = block; m < block_end; ++m) {
      auto* g = args.g + m * args.g_row + c;
      V x = V::load(g);
      if constexpr (kMasked) {
        x = V::keep(x, args.mask + m * args.mask_row, c);
        x.store(g);
      }
      part = V::add(part, x);
    }
    total = V::add(total, part);
  }
  return total;
}

// The same for a single column.
template <class T>
inline T mask_column(const MaskArgs<T>& args, Index begin, Index end, Index c) {
  T total = 0;
  for (Index block = begin; block < end; block += kSumRows) {
    const Index block_end = block + kSumRows < end ? block + kSumRows : end;
    T part = 0;
    for (Index m = block; m < block_end; ++m) {
      T& g = args.g[m * args.g_row + c];
      if (args.mask != nullptr && (args.mask[m * args.mask_row + c / 8] >> (c % 8) & 1) == 0) g = T(0);
      part += g;
    }
    total += part;
  }
  return total;
}

template <class V>
void mask(const MaskArgs<typename V::value>& args) {
  if (args.mask == nullptr && args.sum == nullptr) return;
  const Index run = args.rows / args.runs;
  Index c = 0;
  for (; c + V::width <= args.cols; c += V::width) {
    V sum = V::set(0);
    for (Index m = 0; m < args.rows; m += run) {
      sum = V::add(sum, args.mask != nullptr ? mask_vector<V, true>(args, m, m + run, c)
                                             : mask_vector<V, false>(args, m, m + run, c));
    }
    if (args.sum != nullptr) sum.store(args.sum + c);
  }
  for (; c < args.cols; ++c) {
    typename V::value sum = 0;
    for (Index m = 0; m < args.rows; m += run) sum += mask_column(args, m, m + run, c);
    if (args.sum != nullptr) args.sum[c] = sum;
  }
}

}  // namespace
}  // namespace sparsebp

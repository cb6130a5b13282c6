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

// One vector of columns: masked and summed in one go over the rows.
template <class V, bool kMasked>
inline V mask_vector(const MaskArgs<typename V::value>& args, Index c) {
  const Index run = args.rows / args.runs;
  V all = V::set(0);
  for (Index first = 0; first < args.rows; first += run) {
    V total = V::set(0);
    for (Index block = first; block < first + run; block += kSumRows) {
      const Index end = block + kSumRows < first + run ? block + kSumRows : first + run;
      V part = V::set(0);
      for (Index m = block; m < end; ++m) {
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
    all = V::add(all, total);
  }
  return all;
}

// The same for a single column.
template <class T>
inline T mask_column(const MaskArgs<T>& args, Index c) {
  const Index run = args.rows / args.runs;
  T all = 0;
  for (Index first = 0; first < args.rows; first += run) {
    T total = 0;
    for (Index block = first; block < first + run; block += kSumRows) {
      const Index end = block + kSumRows < first + run ? block + kSumRows : first + run;
      T part = 0;
      for (Index m = block; m < end; ++m) {
        T& g = args.g[m * args.g_row + c];
        if (args.mask != nullptr && (args.mask[m * args.mask_row + c / 8] >> (c % 8) & 1) == 0) g = T(0);
        part += g;
      }
      total += part;
    }
    all += total;
  }
  return all;
}

template <class V>
void mask(const MaskArgs<typename V::value>& args) {
  if (args.mask == nullptr && args.sum == nullptr) return;
  Index c = 0;
  for (; c + V::width <= args.cols; c += V::width) {
    const V sum = args.mask != nullptr ? mask_vector<V, true>(args, c) : mask_vector<V, false>(args, c);
    if (args.sum != nullptr) sum.store(args.sum + c);
  }
  for (; c < args.cols; ++c) {
    const auto sum = mask_column(args, c);
    if (args.sum != nullptr) args.sum[c] = sum;
  }
}

}  // namespace
}  // namespace sparsebp

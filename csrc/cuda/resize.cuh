// An image in other sides. Backward each input number gathers from the outputs that it is part of.
#pragma once

#include "cuda/elementwise.cuh"
#include "program/resampling.h"

namespace sparsebp::cuda {

// One direction of an image.
struct Side {
  Resampling how;
  Index out, in;
  double scale;  // 0: as the sides say

  __device__ Neighbours<float> of(Index i) const { return neighbours_of<float>(how, i, out, in, scale); }

  // By how much input pixel `p` counts in output pixel `i`.
  __device__ float weight(Index i, Index p) const {
    const Neighbours<float> from = of(i);
    return (from.first == p ? 1 - from.share : 0.0f) + (from.second == p ? from.share : 0.0f);
  }

  // The first output whose first neighbour is `p`, or one behind it. Neighbours never go back, so a guess leads there.
  __device__ Index first_from(Index p) const {
    if (p <= 0) return 0;
    Index i = divide(p * out, in).quotient;
    if (i > out) i = out;
    while (i > 0 && of(i - 1).first >= p) --i;
    while (i < out && of(i).first < p) ++i;
    return i;
  }
  // The outputs that may have `p` as a neighbour.
  __device__ Range with(Index p) const { return {first_from(p - 1), first_from(p + 1)}; }
};

struct ResizeArgs {
  const float* x;  // backward: gradient of the output
  float* y;        // backward: gradient of the input
  Index images, channels;
  Side rows, columns;
  bool accumulate;
};

// What does not count is not read: it need not be finite.
[[maybe_unused]] static __global__ void resize_forward(ResizeArgs args) {
  await_inputs();
  const Index i = element();
  const auto [pixel, c] = divide(i, args.channels);
  const auto [n, oy, ox] = pixel_of(pixel, args.rows.out * args.columns.out, args.columns.out);
  if (n >= args.images) return;
  const Neighbours<float> rows = args.rows.of(oy), columns = args.columns.of(ox);
  const float* image = args.x + n * args.rows.in * args.columns.in * args.channels + c;
  const auto at = [&](Index y, Index x) { return image[(y * args.columns.in + x) * args.channels]; };
  const float below = rows.share, right = columns.share;
  float sum = (1 - below) * (1 - right) * at(rows.first, columns.first);
  if (right != 0) sum += (1 - below) * right * at(rows.first, columns.second);
  if (below != 0) sum += below * (1 - right) * at(rows.second, columns.first);
  if (below != 0 && right != 0) sum += below * right * at(rows.second, columns.second);
  args.y[i] = sum;
}

[[maybe_unused]] static __global__ void resize_backward(ResizeArgs args) {
  await_inputs();
  const Index i = element();
  const auto [pixel, c] = divide(i, args.channels);
  const auto [n, iy, ix] = pixel_of(pixel, args.rows.in * args.columns.in, args.columns.in);
  if (n >= args.images) return;
  const Range rows = args.rows.with(iy), columns = args.columns.with(ix);
  const float* image = args.x + n * args.rows.out * args.columns.out * args.channels + c;
  float sum = args.accumulate ? args.y[i] : 0.0f;
  for (Index oy = rows.begin; oy < rows.end; ++oy) {
    const float below = args.rows.weight(oy, iy);
    if (below == 0) continue;
    for (Index ox = columns.begin; ox < columns.end; ++ox) {
      const float weight = below * args.columns.weight(ox, ix);
      if (weight != 0) sum += weight * image[(oy * args.columns.out + ox) * args.channels];
    }
  }
  args.y[i] = sum;
}

}  // namespace sparsebp::cuda

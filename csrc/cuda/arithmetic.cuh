// Sums and products of two values, of which the second may be spread over the first; a number times a value plus a
// number.
#pragma once

#include "cuda/elementwise.cuh"
#include "program/ops/spread.h"

namespace sparsebp::cuda {

struct AffineArgs {
  const float* x;
  float* y;
  Index count;
  float alpha, beta;
};

[[maybe_unused]] static __global__ void affine(AffineArgs args) {
  await_inputs();
  const Index i = element();
  if (i < args.count) args.y[i] = args.alpha * args.x[i] + args.beta;
}

struct SpreadArgs {
  const float *a, *b;
  float* out;
  Index count, channels;  // of a
  Spread spread;          // of b over a
  float alpha;            // of sums
  bool accumulate;        // of products

  __device__ float other(Index i) const {
    const auto [pixel, c] = divide(i, channels);
    const Pixel at = pixel_of(pixel, spread.height * spread.width, spread.width);
    return b[at.image * spread.image + at.y * spread.row + at.x * spread.pixel + c * spread.channel];
  }
};

[[maybe_unused]] static __global__ void add_spread(SpreadArgs args) {
  await_inputs();
  const Index i = element();
  if (i < args.count) args.out[i] = args.a[i] + args.alpha * args.other(i);
}

[[maybe_unused]] static __global__ void multiply_spread(SpreadArgs args) {
  await_inputs();
  const Index i = element();
  if (i < args.count) put(args.out[i], args.a[i] * args.other(i), args.accumulate);
}

// The gradient of a second input: of each of its numbers the sum over the places that it is there for.
struct SpreadSumArgs {
  const float *dy, *factor;  // as the first input; factor null: ones
  float alpha;
  float* out;                     // as the second input
  Index height, width, channels;  // of the first input
  Index rows, columns, lines;     // of the second one
  bool accumulate;
};

constexpr int kSpreadThreads = 64;

// A block for each number.
[[maybe_unused]] static __global__ void sum_spread(SpreadSumArgs args) {
  await_inputs();
  __shared__ float shared[kSpreadThreads];
  const auto [image, number] = divide(blockIdx.x, args.rows * args.columns * args.lines);
  const auto [pixel, line] = divide(number, args.lines);
  const auto [row, column] = divide(pixel, args.columns);
  const Index high = args.rows > 1 ? 1 : args.height, wide = args.columns > 1 ? 1 : args.width;
  const Index deep = args.lines > 1 ? 1 : args.channels;
  float part = 0;
  for (Index i = threadIdx.x; i < high * wide * deep; i += kSpreadThreads) {
    const auto [place, c] = divide(i, deep);
    const auto [y, x] = divide(place, wide);
    const Index at = ((image * args.height + row + y) * args.width + column + x) * args.channels + line + c;
    part += args.factor != nullptr ? args.dy[at] * args.factor[at] : args.dy[at];
  }
  const float sum = block_sum(part, shared);
  if (threadIdx.x == 0) put(args.out[blockIdx.x], args.alpha * sum, args.accumulate);
}

}  // namespace sparsebp::cuda

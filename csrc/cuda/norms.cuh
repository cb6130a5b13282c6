// Norms on their own: by frozen statistics, and by an image's own.
#pragma once

#include "cuda/elementwise.cuh"
#include "program/ops/group_norm_buffers.h"

namespace sparsebp::cuda {

struct NormForwardArgs {
  const float *x, *scale, *shift;
  float* y;
  Index rows, channels;
  Activation activation;
  Mask mask;
};

// A thread takes eight channels of a row.
[[maybe_unused]] static __global__ void norm_forward(NormForwardArgs args) {
  await_inputs();
  const auto [row, eight] = divide(element(), (args.channels + 7) / 8);
  const Index c = eight * 8;
  if (row >= args.rows) return;
  unsigned bits = 0;
  for (Index i = c; i < c + 8 && i < args.channels; ++i) {
    const float normed = fmaf(args.scale[i], args.x[row * args.channels + i], args.shift[i]);
    const float y = activate(normed, args.activation);
    args.y[row * args.channels + i] = y;
    bits |= static_cast<unsigned>(passes(y, args.activation)) << (i - c);
  }
  if (args.mask.data != nullptr) *args.mask.byte(row, c) = static_cast<std::uint8_t>(bits);
}

struct NormBackwardArgs {
  const float *dz, *scale;
  float* dx;
  Index rows, channels;
  bool accumulate;
};

[[maybe_unused]] static __global__ void norm_backward(NormBackwardArgs args) {
  await_inputs();
  const Index i = element();
  const auto [row, c] = divide(i, args.channels);
  if (row < args.rows) put(args.dx[i], args.dz[i] * args.scale[c], args.accumulate);
}

constexpr int kGroupThreads = 128;

// Calls `body(i, c)` for every number of a group that is this thread's, and its channel.
template <class Body>
__device__ void each_of_group(const NormGroups& groups, Index group, const Body& body) {
  const Index first = groups.begin(group), channel = groups.channel(group);
  for (Index i = threadIdx.x; i < groups.size(); i += kGroupThreads) {
    const auto [pixel, c] = divide(i, groups.channels);
    body(first + pixel * groups.row + c, channel + c);
  }
}

struct GroupNormArgs {
  NormGroups groups;
  const float *x, *scale, *shift;
  float* y;
  float *normed, *inverse;  // null: not wanted
  double eps;
};

// A block for each group. Sums are doubles: a group may be a whole image.
[[maybe_unused]] static __global__ void group_norm_forward(GroupNormArgs args) {
  await_inputs();
  __shared__ double shared[kGroupThreads];
  const Index group = blockIdx.x;
  const auto count = static_cast<double>(args.groups.size());
  double part = 0;
  each_of_group(args.groups, group, [&](Index i, Index) { part += static_cast<double>(args.x[i]); });
  const double mean = block_sum(part, shared) / count;
  part = 0;
  each_of_group(args.groups, group, [&](Index i, Index) {
    const double away = static_cast<double>(args.x[i]) - mean;
    part += away * away;
  });
  const double variance = block_sum(part, shared) / count;
  const float middle = static_cast<float>(mean), inverse = static_cast<float>(1 / sqrt(variance + args.eps));
  if (threadIdx.x == 0 && args.inverse != nullptr) args.inverse[group] = inverse;
  each_of_group(args.groups, group, [&](Index i, Index c) {
    const float number = (args.x[i] - middle) * inverse;
    if (args.normed != nullptr) args.normed[i] = number;
    args.y[i] = args.scale[c] * number + args.shift[c];
  });
}

struct GroupNormGradArgs {
  NormGroups groups;
  const float *dy, *scale, *normed, *inverse;
  float* dx;
  bool accumulate;
};

[[maybe_unused]] static __global__ void group_norm_backward(GroupNormGradArgs args) {
  await_inputs();
  __shared__ double shared[kGroupThreads];
  const Index group = blockIdx.x;
  const auto count = static_cast<double>(args.groups.size());
  double sum = 0, product = 0;
  each_of_group(args.groups, group, [&](Index i, Index c) {
    const auto g = static_cast<double>(args.dy[i] * args.scale[c]);
    sum += g, product += g * static_cast<double>(args.normed[i]);
  });
  const float mean = static_cast<float>(block_sum(sum, shared) / count);
  const float slope = static_cast<float>(block_sum(product, shared) / count);
  each_of_group(args.groups, group, [&](Index i, Index c) {
    const float g = (args.dy[i] * args.scale[c] - mean - args.normed[i] * slope) * args.inverse[group];
    put(args.dx[i], g, args.accumulate);
  });
}

}  // namespace sparsebp::cuda

// The weight gradient of an update set, reduced and used at once: added to the weights (SGD) or to a gradient sum.
//
// A block owns a selected channel j: gradient(tap, o) = sum over pixels of saved(pixel, j) * dz(pixel, o) * scale(o).
// Its threads are kSlices teams that share the pixels, kLanes threads wide, each with kOwn columns.
#pragma once

#include "cuda/args.h"

namespace sparsebp::cuda {

struct WeightRowArgs {
  ConvShape shape;
  Index images;
  const float* saved;  // [images * pixels][selected]
  Index selected;
  const float* dz;  // [images * out_pixels][dz_row]; its column 0 is output channel `begin`, it has `count`
  Index dz_row, begin, count;
  const float* scale;                       // null: ones; of dz's columns
  const std::int32_t* indices;              // null: channel j is selected j
  Index channel_begin, channel_end;         // input channels that this launch trains
  float *weight, *momentum, *sum, *energy;  // weight: HWIO; the others by selected channel, or null
  Training training;
};

constexpr int kLanes = 64, kSlices = 8, kOwn = 4, kWeightThreads = kLanes * kSlices;

[[maybe_unused]] static __global__ void __launch_bounds__(kWeightThreads) weight_rows(WeightRowArgs args) {
  __shared__ float parts[kSlices][kLanes * kOwn];
  __shared__ float shared[kWeightThreads];
  const ConvShape& s = args.shape;
  const Index j = blockIdx.x, channel = args.indices != nullptr ? args.indices[j] : j;
  if (channel < args.channel_begin || channel >= args.channel_end) return;
  const Index u = channel % s.in_per_group(), group = channel / s.in_per_group();
  // Without groups dz may hold a part of the columns; with groups it holds all of them.
  const Index first = s.groups == 1 ? args.begin : group * s.out_per_group();
  const Index count = s.groups == 1 ? args.count : s.out_per_group();
  const Index within = s.groups == 1 ? args.begin : 0;  // of a group's columns, the first one here
  const int lane = static_cast<int>(threadIdx.x) % kLanes, slice = static_cast<int>(threadIdx.x) / kLanes;
  const bool writes = *args.training.spoilt == 0;
  const Sgd sgd = args.training.step();
  const Index pixels = args.images * s.out_pixels();
  float energy = 0;
  for (Index tap = 0; tap < s.taps(); ++tap) {
    for (Index col = 0; col < count; col += kLanes * kOwn) {
      float sums[kOwn] = {};
      for (Index pixel = slice; pixel < pixels; pixel += kSlices) {
        Index in = pixel;
        if (!s.pointwise()) {
          const Index n = pixel / s.out_pixels(), oy = pixel % s.out_pixels() / s.out_width, ox = pixel % s.out_width;
          const Index iy = oy * s.stride_h - s.pad_h + tap / s.kernel_w * s.dilation_h;
          const Index ix = ox * s.stride_w - s.pad_w + tap % s.kernel_w * s.dilation_w;
          if (iy < 0 || ix < 0 || iy >= s.height || ix >= s.width) continue;
          in = n * s.pixels() + iy * s.width + ix;
        }
        const float x = args.saved[in * args.selected + j];
        const float* dz = args.dz + pixel * args.dz_row + (first - args.begin) + col;
        for (int i = 0; i < kOwn; ++i) {
          const int c = lane + i * kLanes;
          if (col + c < count) sums[i] = fmaf(x, dz[c], sums[i]);
        }
      }
      for (int i = 0; i < kOwn; ++i) parts[slice][lane + i * kLanes] = sums[i];
      __syncthreads();
      for (int c = static_cast<int>(threadIdx.x); c < kLanes * kOwn && col + c < count; c += kWeightThreads) {
        float gradient = 0;
        for (int i = 0; i < kSlices; ++i) gradient += parts[i][c];
        if (args.scale != nullptr) gradient *= args.scale[first - args.begin + col + c];
        if (!writes) continue;
        energy += gradient * gradient;
        const Index row = (j * s.taps() + tap) * s.out_per_group() + within + col + c;
        if (args.sum != nullptr) {
          args.sum[row] += gradient;
        } else if (args.training.rule->on) {
          train(args.weight + (tap * s.in_per_group() + u) * s.out + first + col + c,
                args.momentum != nullptr ? args.momentum + row : nullptr, gradient, sgd);
        }
      }
      __syncthreads();
    }
  }
  if (args.energy == nullptr) return;
  const float total = block_sum(energy, shared);
  if (threadIdx.x == 0) args.energy[j] += total;
}

}  // namespace sparsebp::cuda

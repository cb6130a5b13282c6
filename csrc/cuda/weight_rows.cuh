// The weight gradient of an update set, reduced and used at once: added to the weights (SGD) or to a gradient sum.
//
// gradient(j, tap, o) = sum over pixels of saved(pixel, j) * dz(pixel, o) * scale(o). A block owns a selected channel
// j; its threads are slices that share the pixels, kLanes threads wide, each with kOwn columns. Many pixels are split
// among several blocks, whose sums a second kernel adds in one order.
#pragma once

#include <algorithm>

#include "cuda/args.h"

namespace sparsebp::cuda {

struct WeightRowArgs {
  ConvShape shape;
  bool transposed;  // the windows are those of the input in the output
  Index images;
  Slice saved;  // of the input
  Index selected;
  const float* dz;  // [images * out_pixels][dz_row]; its column 0 is output channel `begin`, it has `count`
  Index dz_row, begin, count;
  const float* scale;                             // null: ones; of dz's columns
  const std::int32_t* indices;                    // null: channel j is selected j
  Index channel_begin, channel_end;               // input channels that this launch trains
  float *weight, *momentum, *sum, *squared_norm;  // weight: HWIO; the others by selected channel, or null
  Training training;
  int splits;
  float* parts;  // [splits][selected][taps][columns of a channel], if there are several
};

constexpr int kWeightThreads = 512;
constexpr int kSplitPixels = 512;  // of a channel that are worth a block

// The columns of dz that belong to a channel.
struct RowColumns {
  Index channel, u;            // of the layer, and of its group
  Index first, count, within;  // output channels: the first one, how many, and the place of the first in a group
};

__device__ inline RowColumns row_columns(const WeightRowArgs& args, Index j) {
  const ConvShape& s = args.shape;
  const Index channel = args.indices != nullptr ? args.indices[j] : j;
  const Index u = channel % s.in_per_group(), group = channel / s.in_per_group();
  // Without groups dz may hold a part of the columns; with groups it holds all of them.
  if (s.groups == 1) return {channel, u, args.begin, args.count, args.begin};
  return {channel, u, group * s.out_per_group(), s.out_per_group(), 0};
}

// Uses one gradient; returns its square.
__device__ inline float use_gradient(const WeightRowArgs& args, const RowColumns& at, Index j, Index tap, Index c,
                                     float gradient, const Sgd& sgd) {
  const ConvShape& s = args.shape;
  if (args.scale != nullptr) gradient *= args.scale[at.first - args.begin + c];
  const Index row = (j * s.taps() + tap) * s.out_per_group() + at.within + c;
  if (args.sum != nullptr) {
    args.sum[row] += gradient;
  } else if (args.training.rule->on) {
    train(args.weight + (tap * s.in_per_group() + at.u) * s.out + at.first + c,
          args.momentum != nullptr ? args.momentum + row : nullptr, gradient, sgd);
  }
  return gradient * gradient;
}

template <int kLanes, int kOwn>
__global__ void __launch_bounds__(kWeightThreads) weight_rows(WeightRowArgs args) {
  constexpr int kSlices = kWeightThreads / kLanes;
  __shared__ float parts[kSlices][kLanes * kOwn];
  __shared__ float shared[kWeightThreads];
  const ConvShape s = args.transposed ? mirrored(args.shape) : args.shape;
  const Index j = blockIdx.x % args.selected, split = blockIdx.x / args.selected;
  const RowColumns at = row_columns(args, j);
  if (at.channel < args.channel_begin || at.channel >= args.channel_end) return;
  const Index column = column_of(args.saved, j, at.channel);
  const int lane = static_cast<int>(threadIdx.x) % kLanes, slice = static_cast<int>(threadIdx.x) / kLanes;
  const bool writes = *args.training.spoilt == 0;
  const Sgd sgd = args.training.step();
  const int width = static_cast<int>(s.out_width), pixels = static_cast<int>(s.out_pixels());
  const int all = static_cast<int>(args.images) * pixels, share = (all + args.splits - 1) / args.splits;
  const int begin = static_cast<int>(split) * share, end = begin + share < all ? begin + share : all;
  float squared_norm = 0;
  for (Index tap = 0; tap < s.taps(); ++tap) {
    for (Index col = 0; col < at.count; col += kLanes * kOwn) {
      float sums[kOwn] = {};
      for (int pixel = begin + slice; pixel < end; pixel += kSlices) {
        Index in = pixel, out = pixel;
        if (!s.pointwise()) {
          const int n = pixel / pixels, place = pixel - n * pixels, oy = place / width, ox = place - oy * width;
          const Index iy = oy * s.stride_h - s.pad_h + tap / s.kernel_w * s.dilation_h;
          const Index ix = ox * s.stride_w - s.pad_w + tap % s.kernel_w * s.dilation_w;
          if (iy < 0 || ix < 0 || iy >= s.height || ix >= s.width) continue;
          (args.transposed ? out : in) = n * s.pixels() + iy * s.width + ix;
        }
        const float x = args.saved.data[in * args.saved.pixel + column];
        const float* dz = args.dz + out * args.dz_row + (at.first - args.begin) + col;
        for (int i = 0; i < kOwn; ++i) {
          const int c = lane + i * kLanes;
          if (col + c < at.count) sums[i] = fmaf(x, dz[c], sums[i]);
        }
      }
      for (int i = 0; i < kOwn; ++i) parts[slice][lane + i * kLanes] = sums[i];
      __syncthreads();
      for (int c = static_cast<int>(threadIdx.x); c < kLanes * kOwn && col + c < at.count; c += kWeightThreads) {
        float gradient = 0;
        for (int i = 0; i < kSlices; ++i) gradient += parts[i][c];
        if (args.splits > 1) {
          args.parts[((split * args.selected + j) * s.taps() + tap) * at.count + col + c] = gradient;
        } else if (writes) {
          squared_norm += use_gradient(args, at, j, tap, col + c, gradient, sgd);
        }
      }
      __syncthreads();
    }
  }
  if (args.splits > 1 || args.squared_norm == nullptr) return;
  const float total = block_sum(squared_norm, shared);
  if (threadIdx.x == 0) args.squared_norm[j] += total;
}

constexpr int kAddThreads = 128;

// A block for a selected channel.
[[maybe_unused]] static __global__ void add_weight_rows(WeightRowArgs args) {
  __shared__ float shared[kAddThreads];
  const Index j = blockIdx.x, taps = args.shape.taps();
  const RowColumns at = row_columns(args, j);
  if (at.channel < args.channel_begin || at.channel >= args.channel_end || *args.training.spoilt != 0) return;
  const Sgd sgd = args.training.step();
  float squared_norm = 0;
  for (Index i = threadIdx.x; i < taps * at.count; i += kAddThreads) {
    float gradient = 0;
    for (Index split = 0; split < args.splits; ++split) {
      gradient += args.parts[(split * args.selected + j) * taps * at.count + i];
    }
    squared_norm += use_gradient(args, at, j, i / at.count, i % at.count, gradient, sgd);
  }
  if (args.squared_norm == nullptr) return;
  const float total = block_sum(squared_norm, shared);
  if (threadIdx.x == 0) args.squared_norm[j] += total;
}

inline void train_rows(const Queue& queue, WeightRowArgs args, const PartialSums& partial) {
  const ConvShape& s = args.shape;
  const Index columns = s.groups == 1 ? args.count : s.out_per_group();
  const Index pixels = args.images * (args.transposed ? s.pixels() : s.out_pixels()),
              sums = args.selected * s.taps() * columns;
  args.splits =
      static_cast<int>(std::max<Index>(1, std::min<Index>({pixels / kSplitPixels, partial.count / sums, 64})));
  args.parts = partial.data;
  const dim3 grid(static_cast<unsigned>(args.selected * args.splits));
  launch(queue, columns <= 32 ? &weight_rows<32, 1> : &weight_rows<64, 4>, grid, kWeightThreads, args);
  if (args.splits > 1) {
    launch(queue, &add_weight_rows, dim3(static_cast<unsigned>(args.selected)), kAddThreads, args);
  }
}

}  // namespace sparsebp::cuda

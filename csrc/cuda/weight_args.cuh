// The weight gradient of an update set, reduced and used at once: added to the weights (SGD) or to a gradient sum.
//
// gradient(j, tap, o) = sum over pixels of saved(pixel, j) * dz(pixel, o) * scale(o).
#pragma once

#include "cuda/args.h"

namespace sparsebp::cuda {

struct WeightArgs {
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
  // Many pixels are split among several blocks. Their sums lie in `parts`, a row for each j and tap, and a second
  // kernel adds them in one order.
  int splits, share;  // share: pixels of a split; the last one may have more
  float* parts;
  Index part_split, part_row;  // floats from one split, and from one row, to the next

  __device__ Index channel(Index j) const { return indices != nullptr ? indices[j] : j; }
  __device__ bool trains(Index channel) const { return channel >= channel_begin && channel < channel_end; }
};

// The columns of dz that belong to a channel.
struct RowColumns {
  Index channel, u;            // of the layer, and of its group
  Index first, count, within;  // output channels: the first one, how many, and the place of the first in a group
};

__device__ inline RowColumns row_columns(const WeightArgs& args, Index channel) {
  const ConvShape& s = args.shape;
  // Without groups dz may hold a part of the columns; with groups it holds all of them.
  if (s.groups == 1) return {channel, channel, args.begin, args.count, args.begin};
  const auto [group, u] = divide(channel, s.in_per_group());
  return {channel, u, group * s.out_per_group(), s.out_per_group(), 0};
}

// Uses one gradient; returns its square.
__device__ inline float use_gradient(const WeightArgs& args, const RowColumns& at, Index j, Index tap, Index c,
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

// The rows of the saved slice and of dz that meet in a pixel and a tap.
struct Meeting {
  Index in, out;
  bool inside;  // the window's tap is in the image
};

__device__ inline Meeting meeting(const WeightArgs& args, const ConvShape& s, int pixel, int tap) {
  if (s.pointwise()) return {pixel, pixel, true};
  const auto [n, oy, ox] = pixel_of(pixel, s.out_pixels(), s.out_width);
  const auto [h, w] = divide(tap, s.kernel_w);
  const Index iy = oy * s.stride_h - s.pad_h + h * s.dilation_h, ix = ox * s.stride_w - s.pad_w + w * s.dilation_w;
  if (iy < 0 || ix < 0 || iy >= s.height || ix >= s.width) return {0, 0, false};
  const Index other = n * s.pixels() + iy * s.width + ix;
  return args.transposed ? Meeting{pixel, other, true} : Meeting{other, pixel, true};
}

constexpr int kAddLanes = 16, kAddColumns = 32, kAddThreads = kAddLanes * kAddColumns;

// A block for a selected channel and a tile of the numbers of its rows; or for all of them, where their squares are
// summed.
[[maybe_unused]] static __global__ void __launch_bounds__(kAddThreads) add_weight_parts(WeightArgs args) {
  await_inputs();
  __shared__ float sums[kAddLanes][kAddColumns + 1];
  __shared__ float shared[kAddThreads];
  const auto [tile, j] = divide(blockIdx.x, args.selected);
  const RowColumns at = row_columns(args, args.channel(j));
  if (!args.trains(at.channel) || *args.training.spoilt != 0) return;
  const Sgd sgd = args.training.step();
  const int lane = static_cast<int>(threadIdx.x) / kAddColumns, column = static_cast<int>(threadIdx.x) % kAddColumns;
  const int numbers = static_cast<int>(args.shape.taps() * at.count);
  const int begin = static_cast<int>(tile) * kAddColumns;
  const int end = args.squared_norm != nullptr || begin + kAddColumns > numbers ? numbers : begin + kAddColumns;
  float squared_norm = 0;
  for (int first = begin; first < end; first += kAddColumns) {
    const auto [tap, c] = divide(first + column, at.count);
    const float* part = args.parts + (j * args.shape.taps() + tap) * args.part_row + c;
    float sum = 0;
    for (int split = lane; split < args.splits && first + column < end; split += kAddLanes) {
      sum += part[split * args.part_split];
    }
    sums[lane][column] = sum;
    __syncthreads();
    if (lane == 0 && first + column < end) {
      float gradient = 0;
      for (int i = 0; i < kAddLanes; ++i) gradient += sums[i][column];
      squared_norm += use_gradient(args, at, j, tap, c, gradient, sgd);
    }
    __syncthreads();
  }
  if (args.squared_norm == nullptr) return;
  const float total = block_sum(squared_norm, shared);
  if (threadIdx.x == 0) args.squared_norm[j] += total;
}

inline void add_parts(const Queue& queue, const WeightArgs& args, Index columns) {
  const Index numbers = args.shape.taps() * columns;
  const unsigned tiles = args.squared_norm != nullptr ? 1 : blocks(numbers, kAddColumns);
  launch(queue, &add_weight_parts, dim3(static_cast<unsigned>(args.selected) * tiles), kAddThreads, args);
}

}  // namespace sparsebp::cuda

// Weight gradients of convolutions with groups, where a selected channel meets the output channels of its group only. A
// block owns a selected channel; its threads are slices that share the pixels, kLanes threads wide, each with kOwn
// columns.
#pragma once

#include "cuda/weight_tiles.cuh"

namespace sparsebp::cuda {

constexpr int kWeightThreads = 512;
constexpr int kSplitPixels = 512;  // of a channel that are worth a block

template <int kLanes, int kOwn>
__global__ void __launch_bounds__(kWeightThreads) grouped_weight_rows(WeightArgs args) {
  await_inputs();
  constexpr int kSlices = kWeightThreads / kLanes;
  __shared__ float parts[kSlices][kLanes * kOwn];
  __shared__ float shared[kWeightThreads];
  const ConvShape s = args.transposed ? mirrored(args.shape) : args.shape;
  const Index j = blockIdx.x % args.selected, split = blockIdx.x / args.selected;
  const RowColumns at = row_columns(args, args.channel(j));
  if (!args.trains(at.channel)) return;
  const Index column = column_of(args.saved, j, at.channel);
  const int lane = static_cast<int>(threadIdx.x) % kLanes, slice = static_cast<int>(threadIdx.x) / kLanes;
  const bool writes = *args.training.spoilt == 0;
  const Sgd sgd = args.training.step();
  const int pixels = static_cast<int>(args.images * s.out_pixels());
  const int begin = static_cast<int>(split) * args.share, end = split + 1 < args.splits ? begin + args.share : pixels;
  float squared_norm = 0;
  for (Index tap = 0; tap < s.taps(); ++tap) {
    for (Index col = 0; col < at.count; col += kLanes * kOwn) {
      float sums[kOwn] = {};
      for (int pixel = begin + slice; pixel < end; pixel += kSlices) {
        const Meeting meets = meeting(args, s, pixel, static_cast<int>(tap));
        if (!meets.inside) continue;
        const float x = args.saved.data[meets.in * args.saved.pixel + column];
        const float* dz = args.dz + meets.out * args.dz_row + (at.first - args.begin) + col;
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
          args.parts[split * args.part_split + (j * s.taps() + tap) * args.part_row + col + c] = gradient;
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

inline void train_rows(const Queue& queue, WeightArgs args, float* spare, const PartialSums& partial) {
  const ConvShape& s = args.shape;
  if (s.groups == 1) return train_tiles(queue, args, spare, partial);
  const Index columns = s.out_per_group(), pixels = args.images * (args.transposed ? s.pixels() : s.out_pixels());
  const Index sums = args.selected * s.taps() * columns;
  args.splits =
      static_cast<int>(std::max<Index>(1, std::min<Index>({pixels / kSplitPixels, partial.count / sums, 64})));
  args.share = static_cast<int>(pixels / args.splits);
  args.parts = partial.data, args.part_split = sums, args.part_row = columns;
  const dim3 grid(static_cast<unsigned>(args.selected * args.splits));
  launch(queue, columns <= 32 ? &grouped_weight_rows<32, 1> : &grouped_weight_rows<64, 4>, grid, kWeightThreads, args);
  if (args.splits > 1) add_parts(queue, args, columns);
}

}  // namespace sparsebp::cuda

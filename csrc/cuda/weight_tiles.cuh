// Weight gradients of convolutions without groups. A block takes up to kJ selected channels and a tile of the output
// channels; its threads are slices that share the pixels, kLanes threads wide, each with two columns.
#pragma once

#include <algorithm>

#include "cuda/weight_args.cuh"

namespace sparsebp::cuda {

constexpr int kTileThreads = 256;
constexpr int kTileRows = 64;      // pixels whose features are in shared memory at once
constexpr int kBlockPixels = 128;  // pixels that are worth a block
constexpr int kMostSplits = 512;   // of the pixels
constexpr int kMostSelected = 20;

template <int kJ, int kLanes>
__global__ void __launch_bounds__(kTileThreads, 2) weight_tiles(WeightArgs args) {
  await_inputs();
  constexpr int kColumns = 2 * kLanes, kSlices = kTileThreads / kLanes, kAtOnce = 4;
  static_assert(kJ % kAtOnce == 0 && kTileRows % kSlices == 0);
  alignas(16) __shared__ float x[kTileRows][kJ];
  __shared__ float parts[kSlices][kAtOnce][kColumns];
  __shared__ float squares[kJ];
  __shared__ int places[kJ];  // of a selected channel in the saved slice; -1: it does not train here
  const ConvShape s = args.transposed ? mirrored(args.shape) : args.shape;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes, slice = thread / kLanes;

  // Blocks: channels, then columns unless a block takes all of them, then pixels.
  const int channel_tiles = (static_cast<int>(args.selected) + kJ - 1) / kJ, count = static_cast<int>(args.count);
  const bool all = args.squared_norm != nullptr && args.splits == 1;
  const int column_tiles = all ? 1 : (count + kColumns - 1) / kColumns;
  const int tile = static_cast<int>(blockIdx.x) / channel_tiles, split = tile / column_tiles;
  const int first_j = static_cast<int>(blockIdx.x) % channel_tiles * kJ;
  const int first_column = tile % column_tiles * kColumns, end_column = all ? count : first_column + kColumns;
  const int pixels = static_cast<int>(args.images * s.out_pixels()), begin = split * args.share;
  const int end = split + 1 < args.splits ? begin + args.share : pixels;
  if (thread < kJ) {
    const Index j = first_j + thread, channel = j < args.selected ? args.channel(j) : -1;
    const bool trains = channel >= 0 && args.trains(channel);
    places[thread] = trains ? static_cast<int>(column_of(args.saved, j, channel)) : -1;
    squares[thread] = 0;
  }
  __syncthreads();
  bool any = false;
  for (int i = 0; i < kJ; ++i) any |= places[i] >= 0;
  if (!any) return;

  const bool pairs = reinterpret_cast<std::uintptr_t>(args.dz) % 8 == 0 && args.dz_row % 2 == 0 && args.count % 2 == 0;
  constexpr int kOwn = kTileRows / kSlices, kStaged = (kTileRows * kJ + kTileThreads - 1) / kTileThreads;
  bool writes = false;
  Sgd sgd{};
  for (int col = first_column; col < end_column; col += kColumns) {
    for (int tap = 0; tap < static_cast<int>(s.taps()); ++tap) {
      float sums[kJ][2] = {};
      for (int chunk = begin; chunk < end; chunk += kTileRows) {
        // All that a thread reads of a chunk is on its way before it waits for any of it.
        float staged[kStaged] = {};
        SPARSEBP_UNROLL
        for (int u = 0; u < kStaged; ++u) {
          const int i = thread + u * kTileThreads, r = i / kJ, j = i % kJ, pixel = chunk + r;
          if (r >= kTileRows || pixel >= end || places[j] < 0) continue;
          const Meeting at = meeting(args, s, pixel, tap);
          if (at.inside) staged[u] = args.saved.data[at.in * args.saved.pixel + places[j]];
        }
        float2 g[kOwn];
        SPARSEBP_UNROLL
        for (int i = 0; i < kOwn; ++i) {
          const int pixel = chunk + i * kSlices + slice, c = col + 2 * lane;
          g[i] = {0, 0};
          if (pixel >= end || c >= count) continue;
          const Meeting at = meeting(args, s, pixel, tap);
          if (!at.inside) continue;
          const float* dz = args.dz + at.out * args.dz_row + c;
          if (pairs) {
            g[i] = *reinterpret_cast<const float2*>(dz);
          } else {
            g[i].x = dz[0];
            if (c + 1 < count) g[i].y = dz[1];
          }
        }
        if (chunk == begin) writes = *args.training.spoilt == 0, sgd = args.training.step();
        __syncthreads();
        SPARSEBP_UNROLL
        for (int u = 0; u < kStaged; ++u) {
          const int i = thread + u * kTileThreads;
          if (i < kTileRows * kJ) x[i / kJ][i % kJ] = staged[u];
        }
        __syncthreads();
        SPARSEBP_UNROLL
        for (int i = 0; i < kOwn; ++i) {
          SPARSEBP_UNROLL
          for (int j = 0; j < kJ; ++j) {
            const float factor = x[i * kSlices + slice][j];
            sums[j][0] = fmaf(factor, g[i].x, sums[j][0]);
            sums[j][1] = fmaf(factor, g[i].y, sums[j][1]);
          }
        }
      }
      SPARSEBP_UNROLL
      for (int first = 0; first < kJ; first += kAtOnce) {
        __syncthreads();
        SPARSEBP_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
          parts[slice][i][2 * lane] = sums[first + i][0];
          parts[slice][i][2 * lane + 1] = sums[first + i][1];
        }
        __syncthreads();
        const int i = thread / kColumns, c = thread % kColumns;
        float square = 0;
        if (i < kAtOnce && col + c < count && places[first + i] >= 0) {
          const Index j = first_j + first + i;
          float gradient = 0;
          for (int from = 0; from < kSlices; ++from) gradient += parts[from][i][c];
          if (args.splits > 1) {
            args.parts[split * args.part_split + (j * s.taps() + tap) * args.part_row + col + c] = gradient;
          } else if (writes) {
            square = use_gradient(args, row_columns(args, args.channel(j)), j, tap, col + c, gradient, sgd);
          }
        }
        if (!all) continue;
        __syncthreads();
        if (i < kAtOnce) parts[0][i][c] = square;
        __syncthreads();
        if (thread < kAtOnce) {
          for (int from = 0; from < kColumns; ++from) squares[first + thread] += parts[0][thread][from];
        }
      }
    }
  }
  if (!all) return;
  __syncthreads();
  if (thread < kJ && places[thread] >= 0) args.squared_norm[first_j + thread] += squares[thread];
}

template <int kJ, int kLanes>
void start_weight_tiles(const Queue& queue, WeightArgs args, float* spare, const PartialSums& partial) {
  const Index pixels = args.images * (args.transposed ? args.shape.pixels() : args.shape.out_pixels());
  const unsigned channel_tiles = blocks(args.selected, kJ), column_tiles = blocks(args.count, 2 * kLanes);
  const unsigned tiles = channel_tiles * column_tiles;
  const Index wanted = std::min<Index>({pixels / kBlockPixels, blocks(2 * queue.processors, tiles), kMostSplits});
  // A split writes its sums over its own rows of dz, if these are no longer needed and nobody else reads them.
  const bool over = spare != nullptr && channel_tiles == 1 && args.shape.pointwise() && wanted > 1;
  const Index sums = args.selected * args.shape.taps() * args.count;
  args.splits = static_cast<int>(std::max<Index>(1, over ? wanted : std::min(wanted, partial.count / sums)));
  args.share = static_cast<int>(pixels / args.splits);
  args.parts = over ? spare : partial.data;
  args.part_row = over ? args.dz_row : args.count;
  args.part_split = over ? args.share * args.dz_row : sums;
  const bool all = args.squared_norm != nullptr && args.splits == 1;
  const unsigned grid = (all ? channel_tiles : tiles) * static_cast<unsigned>(args.splits);
  launch(queue, &weight_tiles<kJ, kLanes>, dim3(grid), kTileThreads, args);
  if (args.splits > 1) add_parts(queue, args, args.count);
}

// `spare`: dz, if it may be written over.
inline void train_tiles(const Queue& queue, const WeightArgs& args, float* spare, const PartialSums& partial) {
  static_assert(kMostSelected <= kBlockPixels, "a split's sums fit its own rows of dz");
  const bool narrow = args.count <= 32;
  if (args.selected <= 4) {
    (narrow ? start_weight_tiles<4, 16> : start_weight_tiles<4, 32>)(queue, args, spare, partial);
  } else if (args.selected <= 12) {
    (narrow ? start_weight_tiles<12, 16> : start_weight_tiles<12, 32>)(queue, args, spare, partial);
  } else {
    (narrow ? start_weight_tiles<kMostSelected, 16> : start_weight_tiles<kMostSelected, 32>)(queue, args, spare,
                                                                                             partial);
  }
}

}  // namespace sparsebp::cuda

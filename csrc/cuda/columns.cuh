// Gradients behind an activation: what does not pass becomes zero, what passes is summed per channel and trains the
// bias and the batch norm's shift.
//
// A block owns two panels of columns; kSumTeams threads share the rows of each column. Many rows are split among
// several blocks, whose sums a second kernel adds in one order.
#pragma once

#include <algorithm>

#include "cuda/args.h"

namespace sparsebp::cuda {

// One of a layer's two vectors that train from a sum: weight null, none.
struct Shift {
  float *weight, *momentum, *sum, *squared_norm;
  Training training;
};

struct ColumnArgs {
  float* g;  // column 0 is output channel `begin` of the layer
  Index g_row, begin;
  Mask mask;  // of the layer's channels, its rows are g's; without one nothing is written through g
  int rows, cols;
  Norm norm;
  float* scale;  // null: not wanted; [cols], the norm's
  Shift bias, beta;
  int splits;
  float* parts;  // [splits][cols], if there are several
};

constexpr int kColumns = 2 * static_cast<int>(kPanel), kSumTeams = 32;
constexpr int kSplitRows = 512;  // of a column that are worth a block

__device__ inline void train_shift(const Shift& shift, Index c, float gradient, float* squares) {
  *squares = gradient * gradient;
  if (*shift.training.spoilt != 0) return;
  if (shift.sum != nullptr) {
    shift.sum[c] += gradient;
  } else if (shift.training.rule->on) {
    train(shift.weight + c, shift.momentum != nullptr ? shift.momentum + c : nullptr, gradient, shift.training.step());
  }
}

// What follows from the sum of column `lane` of the block that begins at column `first`. Called by whole blocks, of
// which threads 0 to kColumns - 1 do the work.
__device__ inline void finish_column(const ColumnArgs& args, Index first, int lane, bool works, float sum) {
  __shared__ float squares[2][kColumns];
  const Index col = first + lane, c = args.begin + col;
  works = works && col < args.cols;
  if (works) {
    squares[0][lane] = squares[1][lane] = 0;
    const float scale = args.norm.scale(c);
    if (args.scale != nullptr) args.scale[col] = scale;
    if (args.bias.weight != nullptr) {
      train_shift(args.bias, c, args.norm.bias_slope(scale) * sum, &squares[0][lane]);
    }
    if (args.beta.weight != nullptr) train_shift(args.beta, c, sum, &squares[1][lane]);
  }
  __syncthreads();
  if (!works || lane % kPanel != 0) return;
  for (int which = 0; which < 2; ++which) {
    float* squared_norm = which == 0 ? args.bias.squared_norm : args.beta.squared_norm;
    if (squared_norm == nullptr) continue;
    float total = 0;
    for (int i = 0; i < kPanel && col + i < args.cols; ++i) total += squares[which][lane + i];
    squared_norm[c / kPanel] += total;
  }
}

[[maybe_unused]] static __global__ void __launch_bounds__(kColumns* kSumTeams) columns(ColumnArgs args) {
  __shared__ float parts[kSumTeams][kColumns];
  const int tiles = (args.cols + kColumns - 1) / kColumns;
  const int tile = static_cast<int>(blockIdx.x) % tiles, split = static_cast<int>(blockIdx.x) / tiles;
  const int lane = static_cast<int>(threadIdx.x) % kColumns, team = static_cast<int>(threadIdx.x) / kColumns;
  const Index first = static_cast<Index>(tile) * kColumns, col = first + lane, c = args.begin + col;
  const bool inside = col < args.cols, sums = args.bias.weight != nullptr || args.beta.weight != nullptr;
  const int share = (args.rows + args.splits - 1) / args.splits, begin = split * share;
  const int end = begin + share < args.rows ? begin + share : args.rows;
  // A row's byte of the mask, and the bit in it.
  const std::uint8_t* mask = args.mask.data != nullptr && inside ? args.mask.byte(0, c / 8 * 8) : nullptr;
  const Index mask_row = mask != nullptr ? args.mask.byte(1, c / 8 * 8) - mask : 0;
  constexpr int kAtOnce = 4;
  float part = 0;
  for (int first = begin + team; first < end && inside; first += kAtOnce * kSumTeams) {
    float g[kAtOnce];
    bool passes[kAtOnce];
    SPARSEBP_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = first + i * kSumTeams;
      passes[i] = row < end && (mask == nullptr || (mask[row * mask_row] >> (c % 8) & 1) != 0);
      g[i] = row < end && sums ? args.g[row * args.g_row + col] : 0.0f;
    }
    SPARSEBP_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = first + i * kSumTeams;
      if (passes[i]) part += g[i];
      if (row < end && !passes[i]) args.g[row * args.g_row + col] = 0;
    }
  }
  parts[team][lane] = part;
  __syncthreads();
  float sum = 0;
  if (team == 0) {
    for (int i = 0; i < kSumTeams; ++i) sum += parts[i][lane];
  }
  if (args.splits == 1) {
    finish_column(args, first, lane, team == 0, sum);
  } else if (team == 0 && inside) {
    args.parts[static_cast<Index>(split) * args.cols + col] = sum;
  }
}

// A block of kColumns threads for as many columns.
[[maybe_unused]] static __global__ void add_columns(ColumnArgs args) {
  const int lane = static_cast<int>(threadIdx.x);
  const Index first = static_cast<Index>(blockIdx.x) * kColumns, col = first + lane;
  float sum = 0;
  for (int i = 0; i < args.splits && col < args.cols; ++i) sum += args.parts[static_cast<Index>(i) * args.cols + col];
  finish_column(args, first, lane, true, sum);
}

inline void sum_columns(const Queue& queue, ColumnArgs args, const PartialSums& partial) {
  const unsigned tiles = blocks(args.cols, kColumns);
  args.splits = static_cast<int>(std::min<Index>({args.rows / kSplitRows, partial.count / args.cols, 64}));
  args.splits = std::max(args.splits, 1);
  args.parts = partial.data;
  launch(queue, &columns, dim3(tiles * static_cast<unsigned>(args.splits)), kColumns * kSumTeams, args);
  if (args.splits > 1) launch(queue, &add_columns, dim3(tiles), kColumns, args);
}

}  // namespace sparsebp::cuda

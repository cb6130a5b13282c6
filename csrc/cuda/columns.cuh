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

// One launch sums the columns of two gradients, of which the second may have none.
struct ColumnPair {
  ColumnArgs both[2];
  int blocks;  // of the first

  __device__ const ColumnArgs& args() const { return both[static_cast<int>(blockIdx.x) < blocks ? 0 : 1]; }
  __device__ int block() const {
    return static_cast<int>(blockIdx.x) - (static_cast<int>(blockIdx.x) < blocks ? 0 : blocks);
  }
};

constexpr int kColumns = 2 * static_cast<int>(kPanel), kSumTeams = 32;
constexpr int kSplitRows = 512;  // of a column that are worth a block

// What a thread needs to train one number of a shift, read before the sum is known.
struct ShiftStep {
  bool writes = false;
  float sum = 0;
  Sgd sgd{};

  __device__ ShiftStep(const Shift& shift, Index c) {
    if (shift.weight == nullptr) return;
    writes = *shift.training.spoilt == 0 && (shift.sum != nullptr || shift.training.rule->on);
    if (shift.sum != nullptr) {
      sum = shift.sum[c];
    } else {
      sgd = shift.training.step();
    }
  }

  // Returns the gradient's square.
  __device__ float take(const Shift& shift, Index c, float gradient) const {
    if (writes && shift.sum != nullptr) shift.sum[c] = sum + gradient;
    if (writes && shift.sum == nullptr) {
      train(shift.weight + c, shift.momentum != nullptr ? shift.momentum + c : nullptr, gradient, sgd);
    }
    return gradient * gradient;
  }
};

// Adds the parts of the block's columns, of which `first` is the first one, and does what follows from the sums. Called
// by all threads of a block.
__device__ inline void finish_columns(const ColumnArgs& args, Index first, float part,
                                      float (&parts)[kSumTeams][kColumns]) {
  __shared__ float squares[2][kColumns];
  const int lane = static_cast<int>(threadIdx.x) % kColumns, team = static_cast<int>(threadIdx.x) / kColumns;
  const Index col = first + lane, c = args.begin + col;
  const bool works = team == 0 && col < args.cols;
  float scale = 0;
  ShiftStep bias({}, 0), beta({}, 0);
  if (works) scale = args.norm.scale(c), bias = ShiftStep(args.bias, c), beta = ShiftStep(args.beta, c);
  parts[team][lane] = part;
  __syncthreads();
  if (works) {
    float sum = 0;
    SPARSEBP_UNROLL
    for (int i = 0; i < kSumTeams; ++i) sum += parts[i][lane];
    if (args.scale != nullptr) args.scale[col] = scale;
    squares[0][lane] = squares[1][lane] = 0;
    if (args.bias.weight != nullptr) squares[0][lane] = bias.take(args.bias, c, args.norm.bias_slope(scale) * sum);
    if (args.beta.weight != nullptr) squares[1][lane] = beta.take(args.beta, c, sum);
  }
  if (args.bias.squared_norm == nullptr && args.beta.squared_norm == nullptr) return;
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

[[maybe_unused]] static __global__ void __launch_bounds__(kColumns* kSumTeams) columns(ColumnPair pair) {
  await_inputs();
  const ColumnArgs& args = pair.args();
  __shared__ float parts[kSumTeams][kColumns];
  const int tiles = (args.cols + kColumns - 1) / kColumns;
  const int tile = pair.block() % tiles, split = pair.block() / tiles;
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
  for (int at = begin + team; at < end && inside; at += kAtOnce * kSumTeams) {
    float g[kAtOnce];
    bool open[kAtOnce];
    SPARSEBP_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = at + i * kSumTeams;
      open[i] = row < end && (mask == nullptr || (mask[row * mask_row] >> (c % 8) & 1) != 0);
      g[i] = row < end && sums ? args.g[row * args.g_row + col] : 0.0f;
    }
    SPARSEBP_UNROLL
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = at + i * kSumTeams;
      if (open[i]) part += g[i];
      if (row < end && !open[i]) args.g[row * args.g_row + col] = 0;
    }
  }
  if (args.splits == 1) return finish_columns(args, first, part, parts);
  parts[team][lane] = part;
  __syncthreads();
  if (team != 0 || !inside) return;
  float sum = 0;
  SPARSEBP_UNROLL
  for (int i = 0; i < kSumTeams; ++i) sum += parts[i][lane];
  args.parts[static_cast<Index>(split) * args.cols + col] = sum;
}

// As many threads; a team's sums are of every kSumTeams-th split.
[[maybe_unused]] static __global__ void __launch_bounds__(kColumns* kSumTeams) add_columns(ColumnPair pair) {
  await_inputs();
  const ColumnArgs& args = pair.args();
  __shared__ float parts[kSumTeams][kColumns];
  const int lane = static_cast<int>(threadIdx.x) % kColumns, team = static_cast<int>(threadIdx.x) / kColumns;
  const Index first = static_cast<Index>(pair.block()) * kColumns, col = first + lane;
  float part = 0;
  for (int i = team; i < args.splits && col < args.cols; i += kSumTeams) {
    part += args.parts[static_cast<Index>(i) * args.cols + col];
  }
  finish_columns(args, first, part, parts);
}

inline void sum_columns(const Queue& queue, const ColumnArgs& first, const ColumnArgs& second,
                        const PartialSums& partial) {
  ColumnPair sums{{first, second}, 0}, added{};
  const Index room = second.cols > 0 ? partial.count / 2 : partial.count;
  unsigned grid[2] = {}, adding[2] = {};
  for (int i = 0; i < 2; ++i) {
    ColumnArgs& args = sums.both[i];
    if (args.cols == 0) continue;
    const unsigned tiles = blocks(args.cols, kColumns);
    args.splits = static_cast<int>(std::max<Index>(1, std::min<Index>({args.rows / kSplitRows, room / args.cols, 64})));
    args.parts = partial.data + i * room;
    grid[i] = tiles * static_cast<unsigned>(args.splits), adding[i] = args.splits > 1 ? tiles : 0;
    added.both[i] = args;
  }
  sums.blocks = static_cast<int>(grid[0]), added.blocks = static_cast<int>(adding[0]);
  launch(queue, &columns, dim3(grid[0] + grid[1]), kColumns * kSumTeams, sums);
  launch(queue, &add_columns, dim3(adding[0] + adding[1]), kColumns * kSumTeams, added);
}

}  // namespace sparsebp::cuda

// Gradients behind an activation: what does not pass becomes zero, what passes is summed per channel and trains the
// bias and the batch norm's shift.
//
// A block owns two panels of columns; kSumTeams threads share the rows of each column.
#pragma once

#include "cuda/args.h"

namespace sparsebp::cuda {

// One of a layer's two vectors that train from a sum: weight null, none.
struct Shift {
  float *weight, *momentum, *sum, *energy;
  Training training;
};

struct ColumnArgs {
  float* g;  // column 0 is output channel `begin` of the layer
  Index g_row, begin;
  Mask mask;  // of the layer's channels, its rows are g's; without one nothing is written through g
  int rows, cols;
  Norm norm;
  float* scale;  // null: not wanted; [cols], the batch norm's
  Shift bias, beta;
};

constexpr int kColumns = 2 * static_cast<int>(kPanel), kSumTeams = 32;

__device__ inline void train_shift(const Shift& shift, Index c, float gradient, float* squares) {
  *squares = gradient * gradient;
  if (*shift.training.spoilt != 0) return;
  if (shift.sum != nullptr) {
    shift.sum[c] += gradient;
  } else if (shift.training.rule->on) {
    train(shift.weight + c, shift.momentum != nullptr ? shift.momentum + c : nullptr, gradient, shift.training.step());
  }
}

[[maybe_unused]] static __global__ void __launch_bounds__(kColumns* kSumTeams) columns(ColumnArgs args) {
  __shared__ float parts[kSumTeams][kColumns];
  __shared__ float squares[2][kColumns];
  const int lane = static_cast<int>(threadIdx.x) % kColumns, team = static_cast<int>(threadIdx.x) / kColumns;
  const Index col = static_cast<Index>(blockIdx.x) * kColumns + lane, c = args.begin + col;
  const bool inside = col < args.cols, sums = args.bias.weight != nullptr || args.beta.weight != nullptr;
  float part = 0;
  for (Index row = team; row < args.rows && inside; row += kSumTeams) {
    float* g = args.g + row * args.g_row + col;
    if (!args.mask.passes(row, c)) {
      *g = 0;
    } else if (sums) {
      part += *g;
    }
  }
  parts[team][lane] = part;
  __syncthreads();
  if (team == 0) {
    squares[0][lane] = squares[1][lane] = 0;
    if (inside) {
      float sum = 0;
      for (int i = 0; i < kSumTeams; ++i) sum += parts[i][lane];
      const float scale = args.norm.scale(c);
      if (args.scale != nullptr) args.scale[col] = scale;
      if (args.bias.weight != nullptr) train_shift(args.bias, c, scale * sum, &squares[0][lane]);
      if (args.beta.weight != nullptr) train_shift(args.beta, c, sum, &squares[1][lane]);
    }
  }
  __syncthreads();
  if (team != 0 || lane % kPanel != 0 || !inside) return;
  for (int which = 0; which < 2; ++which) {
    float* energy = which == 0 ? args.bias.energy : args.beta.energy;
    if (energy == nullptr) continue;
    float sum = 0;
    for (int i = 0; i < kPanel; ++i) sum += squares[which][lane + i];
    energy[c / kPanel] += sum;
  }
}

}  // namespace sparsebp::cuda

// What a layer keeps of the gradients of a pass: scores and mean squares; and the step from gradient sums.
#pragma once

#include "cuda/args.h"
#include "program/channel_score.h"

namespace sparsebp::cuda {

constexpr int kStatisticsThreads = 256;

struct SquareArgs {
  MeanSquare* square;         // null: none
  const float* squared_norm;  // parts of the squared norm of this pass's gradient
  Index parts, elements;
  const Rule* rule;
};

struct StatisticsArgs {
  float* scores;  // null: none
  const float* squared_norm;
  const std::int32_t* indices;
  Index selected;
  SquareArgs squares[3];
  const int* spoilt;
};

// One block.
[[maybe_unused]] static __global__ void update_statistics(StatisticsArgs args) {
  await_inputs();
  __shared__ float shared[kStatisticsThreads];
  if (*args.spoilt != 0) return;
  for (Index j = threadIdx.x; j < args.selected && args.scores != nullptr; j += kStatisticsThreads) {
    float& score = args.scores[args.indices[j]];
    score = updated_score(score, args.squared_norm[j]);
  }
  for (const SquareArgs& s : args.squares) {
    if (s.square == nullptr || s.squared_norm == nullptr) continue;
    float part = 0;
    for (Index i = threadIdx.x; i < s.parts; i += kStatisticsThreads) part += s.squared_norm[i];
    const float total = block_sum(part, shared);
    if (threadIdx.x != 0 || s.rule->square_decay == 0 || !s.rule->on) continue;
    s.square->add(static_cast<double>(total) / static_cast<double>(s.elements), s.rule->square_decay);
  }
}

// The gradient sums of one parameter. Element i of a weight's is (j, tap, o) with `o` innermost.
struct ApplyArgs {
  float *weight, *sum, *momentum;
  Index count;
  MeanSquare* square;
  const Rule* rule;
  bool rows;  // the sums are of a weight's selected rows
  ConvShape shape;
  const std::int32_t* indices;
  const int* spoilt;  // set: the sums are of gradients that were not all finite, and are dropped
};

// One block where the step follows from all of the sums, which `square` not being null says; else any number.
[[maybe_unused]] static __global__ void apply(ApplyArgs args) {
  await_inputs();
  __shared__ float shared[kStatisticsThreads];
  const Rule& rule = *args.rule;
  if (args.square != nullptr) {
    float part = 0;
    for (Index i = threadIdx.x; i < args.count; i += kStatisticsThreads) part += args.sum[i] * args.sum[i];
    const float total = block_sum(part, shared);
    if (threadIdx.x == 0 && rule.on && rule.square_decay != 0 && *args.spoilt == 0) {
      args.square->add(static_cast<double>(total) / static_cast<double>(args.count), rule.square_decay);
    }
    __syncthreads();
  }
  const Sgd sgd = rule.step_after(args.square);
  const ConvShape& s = args.shape;
  const Index first = static_cast<Index>(blockIdx.x) * kStatisticsThreads + threadIdx.x;
  for (Index i = first; i < args.count; i += static_cast<Index>(gridDim.x) * kStatisticsThreads) {
    Index place = i;
    if (args.rows) {
      const auto [line, o] = divide(i, s.out_per_group());
      const auto [j, tap] = divide(line, s.taps());
      const auto [group, u] = divide(args.indices != nullptr ? args.indices[j] : j, s.in_per_group());
      place = (tap * s.in_per_group() + u) * s.out + group * s.out_per_group() + o;
    }
    float* momentum = args.momentum != nullptr ? args.momentum + i : nullptr;
    if (rule.on && *args.spoilt == 0) train(args.weight + place, momentum, args.sum[i], sgd);
    args.sum[i] = 0;
  }
}

struct ForgetArgs {
  int* spoilt;  // of the passes so far, and of those that were applied last
};

[[maybe_unused]] static __global__ void forget_spoilt(ForgetArgs args) {
  await_inputs();
  args.spoilt[1] = args.spoilt[0];
  args.spoilt[0] = 0;
}

}  // namespace sparsebp::cuda

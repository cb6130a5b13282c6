// Activations that no layer applies, activations with a slope a channel, and softmax.
#pragma once

#include "cuda/elementwise.cuh"
#include "kernels/curve.h"

namespace sparsebp::cuda {

// As sparsebp::CurveArgs, with whatever backward wants.
struct CurveArgs {
  const float* x;
  float* y;
  Index count;
  float alpha, beta;
  std::uint8_t* kept;  // null: not wanted
  float* input;        // null: not wanted
  int bits;            // of an element in `kept`
  Steps steps;
};

// A thread takes eight elements, whose bits are whole bytes.
template <Activation kKind>
__global__ void curve_forward(CurveArgs args) {
  await_inputs();
  const Index first = element() * 8;
  if (first >= args.count) return;
  const Curve<float, kKind> curve{args.alpha, args.beta};
  const float per_step = static_cast<float>(1 / args.steps.size);
  std::uint8_t codes[8] = {};
  for (int j = 0; j < 8 && first + j < args.count; ++j) {
    const float x = args.x[first + j];
    if constexpr (is_curve(kKind)) {
      const float code = curve.slope(x) * per_step + (static_cast<float>(args.steps.beyond) + 0.5f);
      const float most = static_cast<float>(args.steps.last);
      codes[j] = static_cast<std::uint8_t>(code > 0 ? (code < most ? code : most) : 0.0f);
    } else {
      codes[j] = curve.passes(x) ? 1 : 0;
    }
    if (args.input != nullptr) args.input[first + j] = x;
    args.y[first + j] = curve.value(x);
  }
  if (args.kept != nullptr) pack_codes(codes, args.bits, args.kept + first / 8 * args.bits);
}

struct CurveGradArgs {
  const float *dy, *x;  // x null: `kept` is there
  float* dx;
  Index count;
  float alpha, beta;
  const std::uint8_t* kept;
  int bits;
  Steps steps;
  bool accumulate;
};

template <Activation kKind>
__global__ void curve_backward(CurveGradArgs args) {
  await_inputs();
  const Index first = element() * 8;
  if (first >= args.count) return;
  const Curve<float, kKind> curve{args.alpha, args.beta};
  std::uint8_t codes[8] = {};
  if (args.x == nullptr) unpack_codes(args.kept + first / 8 * args.bits, args.bits, codes);
  for (int j = 0; j < 8 && first + j < args.count; ++j) {
    float factor;
    if constexpr (is_curve(kKind)) {
      factor = args.x != nullptr ? curve.slope(args.x[first + j])
                                 : static_cast<float>((codes[j] - args.steps.beyond) * args.steps.size);
    } else {
      factor = curve.factor(codes[j] != 0);
    }
    put(args.dx[first + j], args.dy[first + j] * factor, args.accumulate);
  }
}

struct PreluArgs {
  const float *x, *slopes;
  float* y;
  Index rows, channels;
  Mask mask;
};

// A thread takes eight channels of a row.
[[maybe_unused]] static __global__ void prelu_forward(PreluArgs args) {
  await_inputs();
  const auto [row, eight] = divide(element(), (args.channels + 7) / 8);
  const Index c = eight * 8;
  if (row >= args.rows) return;
  unsigned bits = 0;
  for (Index i = c; i < c + 8 && i < args.channels; ++i) {
    const float x = args.x[row * args.channels + i];
    args.y[row * args.channels + i] = x > 0 ? x : args.slopes[i] * x;
    bits |= static_cast<unsigned>(x > 0) << (i - c);
  }
  if (args.mask.data != nullptr) *args.mask.byte(row, c) = static_cast<std::uint8_t>(bits);
}

struct PreluGradArgs {
  const float *dy, *slopes;
  float* dx;
  Index rows, channels;
  Mask mask;
  bool accumulate;
};

[[maybe_unused]] static __global__ void prelu_backward(PreluGradArgs args) {
  await_inputs();
  const Index i = element();
  if (i >= args.rows * args.channels) return;
  const auto [row, c] = divide(i, args.channels);
  put(args.dx[i], args.mask.passes(row, c) ? args.dy[i] : args.dy[i] * args.slopes[c], args.accumulate);
}

struct SoftmaxArgs {
  const float* x;
  float *y, *result;  // result null: not wanted
  Index channels;
};

constexpr int kSoftmaxThreads = 32;

// The largest `value` of a block's threads; a NaN does not count.
__device__ inline float block_most(float value, float* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half && shared[threadIdx.x + half] > shared[threadIdx.x]) {
      shared[threadIdx.x] = shared[threadIdx.x + half];
    }
    __syncthreads();
  }
  const float most = shared[0];
  __syncthreads();
  return most;
}

// A block for each pixel.
[[maybe_unused]] static __global__ void softmax_forward(SoftmaxArgs args) {
  await_inputs();
  __shared__ float shared[kSoftmaxThreads];
  const Index first = static_cast<Index>(blockIdx.x) * args.channels;
  float most = args.x[first];
  for (Index c = threadIdx.x; c < args.channels; c += kSoftmaxThreads) {
    if (args.x[first + c] > most) most = args.x[first + c];
  }
  most = block_most(most, shared);
  float part = 0;
  for (Index c = threadIdx.x; c < args.channels; c += kSoftmaxThreads) part += expf(args.x[first + c] - most);
  const float sum = block_sum(part, shared);
  for (Index c = threadIdx.x; c < args.channels; c += kSoftmaxThreads) {
    const float y = expf(args.x[first + c] - most) / sum;
    args.y[first + c] = y;
    if (args.result != nullptr) args.result[first + c] = y;
  }
}

struct SoftmaxGradArgs {
  const float *dy, *result;
  float* dx;
  Index channels;
  bool accumulate;
};

[[maybe_unused]] static __global__ void softmax_backward(SoftmaxGradArgs args) {
  await_inputs();
  __shared__ float shared[kSoftmaxThreads];
  const Index first = static_cast<Index>(blockIdx.x) * args.channels;
  float part = 0;
  for (Index c = threadIdx.x; c < args.channels; c += kSoftmaxThreads) {
    part += args.result[first + c] * args.dy[first + c];
  }
  const float sum = block_sum(part, shared);
  for (Index c = threadIdx.x; c < args.channels; c += kSoftmaxThreads) {
    put(args.dx[first + c], args.result[first + c] * (args.dy[first + c] - sum), args.accumulate);
  }
}

}  // namespace sparsebp::cuda

// What CUDA kernels have in common: layers as they see them, masks, and how one number trains.
#pragma once

#include "cuda/runtime.h"
#include "kernels/args.h"
#include "program/layer.h"

namespace sparsebp::cuda {

// A frozen batch norm and a bias, or a scale and a bias. Null where a layer has none.
struct Norm {
  const float *gamma, *beta, *mean, *var, *bias;
  float eps;
  bool shared;  // gamma and bias have one number for all channels

  // As FoldArgs: y = scale * x + shift, of channels [c, c + kCount), or of the first `count` of them. All that they are
  // made of is on its way before the first number is needed.
  template <int kCount, bool kShift>
  __device__ void fold(Index c, int count, float* scales, float* shifts) const {
    float variances[kCount], means[kCount] = {}, offsets[kCount] = {}, biases[kCount] = {};
    const auto read = [&](const float* from, float* to, bool one) {
      SPARSEBP_UNROLL
      for (int i = 0; i < kCount; ++i) to[i] = i < count ? from[one ? 0 : c + i] : 0.0f;
    };
    SPARSEBP_UNROLL
    for (int i = 0; i < kCount; ++i) scales[i] = 1;
    if (gamma != nullptr) read(gamma, scales, shared);
    if (kShift && bias != nullptr) read(bias, biases, shared);
    if (var != nullptr) {
      read(var, variances, false);
      if (kShift) read(mean, means, false);
      if (kShift && beta != nullptr) read(beta, offsets, false);
      SPARSEBP_UNROLL
      for (int i = 0; i < kCount; ++i) scales[i] *= 1.0f / sqrtf(variances[i] + eps);
    }
    SPARSEBP_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if (kShift) shifts[i] = var != nullptr ? scales[i] * (biases[i] - means[i]) + offsets[i] : biases[i];
    }
  }
  __device__ float scale(Index c) const {
    float found;
    fold<1, false>(c, 1, &found, nullptr);
    return found;
  }
  // Of the bias in y: statistics come behind it, a mere scale before it.
  __device__ float bias_slope(float scale_c) const { return var != nullptr ? scale_c : 1.0f; }
};

// Channels of a layer's input: see program/layer.h.
using Slice = sparsebp::Slice<const float>;

// Where the selected channel number `j` lies.
__device__ inline Index column_of(const Slice& slice, Index j, Index channel) {
  return slice.first < 0 ? j : channel - slice.first;
}

struct Division {
  Index quotient, rest;
};

// GPUs divide 64-bit numbers slowly, and hardly any number here needs 64 bits.
__device__ inline Division divide(Index i, Index by) {
  if (((i | by) >> 32) != 0) return {i / by, i % by};
  const unsigned small = static_cast<unsigned>(i), quotient = small / static_cast<unsigned>(by);
  return {quotient, small - quotient * static_cast<unsigned>(by)};
}

// A pixel of a batch of images: which image, and where in it.
struct Pixel {
  Index image, y, x;
};

__device__ inline Pixel pixel_of(Index i, Index pixels, Index width) {
  const Division image = divide(i, pixels), place = divide(image.rest, width);
  return {image.quotient, place.quotient, place.rest};
}

inline Norm norm_of(const Layer<float>& layer) {
  const LayerParams<float>& p = layer.params;
  return {p.gamma, p.beta, p.mean, p.var, p.bias, static_cast<float>(layer.spec.eps), layer.spec.shared};
}

// One bit an element: bytes of a row one after the other, or panel after panel (see panel_mask).
struct Mask {
  std::uint8_t* data;  // null: none
  Index rows, channels;
  bool panels;

  // The byte of channels c ... c + 7; c is a multiple of 8.
  __device__ std::uint8_t* byte(Index row, Index c) const {
    if (!panels) return data + row * ((channels + 7) / 8) + c / 8;
    const Index first = c / kPanel * kPanel, width = channels - first < kPanel ? channels - first : kPanel;
    return data + first / 8 * rows + row * ((width + 7) / 8) + (c - first) / 8;
  }
  __device__ bool passes(Index row, Index c) const {
    return data == nullptr || (*byte(row, c / 8 * 8) >> (c % 8) & 1) != 0;
  }
};

// Floats of the arena for sums that several blocks share, while an op runs backward.
struct PartialSums {
  float* data = nullptr;
  Index count = 0;
};

// Writes a number, or adds it to what is there.
__device__ inline void put(float& out, float value, bool accumulate) { out = accumulate ? out + value : value; }

__device__ inline float activate(float x, Activation activation) {
  if (activation == Activation::identity) return x;
  const float low = x > 0 ? x : x == x ? 0.0f : x;  // a NaN stays one
  return activation == Activation::relu6 && low > 6 ? 6.0f : low;
}

// Does the gradient pass an activation whose output is y.
__device__ inline bool passes(float y, Activation activation) {
  if (activation == Activation::identity) return true;
  return y > 0 && (activation == Activation::relu || y < 6);
}

// How a parameter trains: rules and mean squares lie on the device.
struct Training {
  const Rule* rule;
  const MeanSquare* square;  // null: steps are not normalised
  const int* spoilt;         // set: the incoming gradient was not finite, nothing is written

  __device__ Sgd step() const { return rule->step_before(square); }
};

// See sgd_step in kernels/weight_grad.h.
__device__ inline void train(float* weight, float* momentum, float gradient, const Sgd& sgd) {
  float g = gradient;
  if (sgd.weight_decay != 0) g = fmaf(static_cast<float>(sgd.weight_decay), *weight, g);
  if (momentum != nullptr) {
    g = fmaf(static_cast<float>(sgd.momentum), *momentum, g);
    *momentum = g;
  }
  *weight = fmaf(static_cast<float>(-sgd.rate), g, *weight);
}

// The sum of `value` over a block's threads, a power of two, in an order of its own. `shared` has a number for every
// thread.
template <class T>
__device__ T block_sum(T value, T* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
  }
  const T sum = shared[0];
  __syncthreads();
  return sum;
}

}  // namespace sparsebp::cuda

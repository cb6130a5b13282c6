// The weight gradient of a depthwise convolution's selected channels, used at once.
#pragma once

#include "cuda/depthwise.cuh"

namespace sparsebp::cuda {

struct DepthwiseWeightArgs {
  ConvShape shape;
  Index images;
  Slice saved;      // of the input
  const float* dz;  // [images * out_pixels][dz_row], column 0 is channel `begin`
  Index dz_row, begin, count, selected;
  const std::int32_t* indices;  // null: channel j is selected j
  Norm norm;
  float *weight, *momentum, *sum, *squared_norm;  // weight: [taps][channels]; the others by selected channel, or null
  Training training;
};

// A block for a selected channel; its threads share the pixels, a few taps at a time.
constexpr int kTapsAtOnce = 9;

[[maybe_unused]] static __global__ void depthwise_weight_grad(DepthwiseWeightArgs args) {
  await_inputs();
  __shared__ float shared[kDepthwiseThreads];
  const ConvShape& s = args.shape;
  const Index j = blockIdx.x, channel = args.indices != nullptr ? args.indices[j] : j, c = channel - args.begin;
  if (c < 0 || c >= args.count) return;
  const Index pixels = args.images * s.out_pixels(), taps = s.taps();
  const Index column = column_of(args.saved, j, channel);
  const float scale = args.norm.scale(channel);
  float squared_norm = 0;
  for (Index first = 0; first < taps; first += kTapsAtOnce) {
    float parts[kTapsAtOnce] = {};
    for (Index pixel = threadIdx.x; pixel < pixels; pixel += blockDim.x) {
      const auto [n, oy, ox] = pixel_of(pixel, s.out_pixels(), s.out_width);
      const Index top = oy * s.stride_h - s.pad_h, left = ox * s.stride_w - s.pad_w;
      const float* saved = args.saved.data + n * s.pixels() * args.saved.pixel + column;
      const float dz = args.dz[pixel * args.dz_row + c];
      SPARSEBP_UNROLL
      for (int i = 0; i < kTapsAtOnce; ++i) {
        const auto [h, w] = divide(first + i, s.kernel_w);
        const Index iy = top + h * s.dilation_h, ix = left + w * s.dilation_w;
        if (h >= s.kernel_h || iy < 0 || ix < 0 || iy >= s.height || ix >= s.width) continue;
        parts[i] = fmaf(saved[(iy * s.width + ix) * args.saved.pixel], dz, parts[i]);
      }
    }
    SPARSEBP_UNROLL
    for (int i = 0; i < kTapsAtOnce; ++i) {
      const Index tap = first + i;
      if (tap >= taps) break;
      const float gradient = scale * block_sum(parts[i], shared);
      if (threadIdx.x != 0 || *args.training.spoilt != 0) continue;
      squared_norm += gradient * gradient;
      if (args.sum != nullptr) {
        args.sum[j * taps + tap] += gradient;
      } else if (args.training.rule->on) {
        train(args.weight + tap * s.out + channel, args.momentum != nullptr ? args.momentum + j * taps + tap : nullptr,
              gradient, args.training.step());
      }
    }
  }
  if (threadIdx.x == 0 && args.squared_norm != nullptr) args.squared_norm[j] += squared_norm;
}

}  // namespace sparsebp::cuda

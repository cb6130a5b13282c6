// Depthwise convolutions: forward, input gradient, and the weight gradient of the selected channels. Threads take eight
// neighbouring channels of a pixel, so that one of them owns a byte of the mask.
#pragma once

#include "cuda/elementwise.cuh"

namespace sparsebp::cuda {

struct DepthwiseArgs {
  ConvShape shape;
  const float* x;       // forward: input; backward: gradient of the output
  const float* weight;  // first channel of the block
  float* y;             // forward: output; backward: gradient of the input
  Index x_pixel, y_pixel, weight_row;
  int channels;
  Index images;
  Norm norm;  // of the layer's channels; the first one of the block is `channel`
  Index channel;
  Activation activation;  // forward only
  Mask mask;              // forward only; its rows are y's, shifted by mask_row
  Index mask_row;
  bool accumulate;  // backward only
};

[[maybe_unused]] static __global__ void depthwise_forward(DepthwiseArgs args) {
  const ConvShape& s = args.shape;
  const auto [pixel, eight] = divide(element(), (args.channels + 7) / 8);
  if (pixel >= args.images * s.out_pixels()) return;
  const int c = static_cast<int>(eight) * 8, count = args.channels - c < 8 ? args.channels - c : 8;
  const auto [n, oy, ox] = pixel_of(pixel, s.out_pixels(), s.out_width);
  float sums[8] = {};
  for (Index h = 0; h < s.kernel_h; ++h) {
    const Index iy = oy * s.stride_h - s.pad_h + h * s.dilation_h;
    if (iy < 0 || iy >= s.height) continue;
    for (Index w = 0; w < s.kernel_w; ++w) {
      const Index ix = ox * s.stride_w - s.pad_w + w * s.dilation_w;
      if (ix < 0 || ix >= s.width) continue;
      const float* x = args.x + (n * s.pixels() + iy * s.width + ix) * args.x_pixel + c;
      const float* weight = args.weight + (h * s.kernel_w + w) * args.weight_row + c;
      for (int i = 0; i < count; ++i) sums[i] = fmaf(x[i], weight[i], sums[i]);
    }
  }
  float* y = args.y + pixel * args.y_pixel + c;
  unsigned bits = 0;
  for (int i = 0; i < count; ++i) {
    const Index channel = args.channel + c + i;
    const float scale = args.norm.scale(channel);
    y[i] = activate(fmaf(scale, sums[i], args.norm.shift(channel, scale)), args.activation);
    bits |= static_cast<unsigned>(passes(y[i], args.activation)) << i;
  }
  if (args.mask.data != nullptr)
    *args.mask.byte(args.mask_row + pixel, args.channel + c) = static_cast<std::uint8_t>(bits);
}

[[maybe_unused]] static __global__ void depthwise_input_grad(DepthwiseArgs args) {
  const ConvShape& s = args.shape;
  const auto [pixel, eight] = divide(element(), (args.channels + 7) / 8);
  if (pixel >= args.images * s.pixels()) return;
  const int c = static_cast<int>(eight) * 8, count = args.channels - c < 8 ? args.channels - c : 8;
  const auto [n, iy, ix] = pixel_of(pixel, s.pixels(), s.width);
  float sums[8] = {};
  for (Index h = 0; h < s.kernel_h; ++h) {
    const Index down = iy + s.pad_h - h * s.dilation_h;
    if (down < 0) continue;
    const auto [oy, beside_h] = divide(down, s.stride_h);
    if (beside_h != 0 || oy >= s.out_height) continue;
    for (Index w = 0; w < s.kernel_w; ++w) {
      const Index across = ix + s.pad_w - w * s.dilation_w;
      if (across < 0) continue;
      const auto [ox, beside_w] = divide(across, s.stride_w);
      if (beside_w != 0 || ox >= s.out_width) continue;
      const Index out = n * s.out_pixels() + oy * s.out_width + ox;
      const float* g = args.x + out * args.x_pixel + c;
      const float* weight = args.weight + (h * s.kernel_w + w) * args.weight_row + c;
      for (int i = 0; i < count; ++i) sums[i] = fmaf(g[i], weight[i], sums[i]);
    }
  }
  float* y = args.y + pixel * args.y_pixel + c;
  for (int i = 0; i < count; ++i) {
    const float dx = args.norm.scale(args.channel + c + i) * sums[i];
    y[i] = args.accumulate ? y[i] + dx : dx;
  }
}

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
constexpr int kDepthwiseThreads = 256, kTapsAtOnce = 9;

[[maybe_unused]] static __global__ void depthwise_weight_grad(DepthwiseWeightArgs args) {
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

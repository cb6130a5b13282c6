// Depthwise convolutions: forward and input gradient. Threads take eight neighbouring channels, so that one of them
// owns a byte of the mask, of kAcross neighbouring pixels.
#pragma once

#include "cuda/gemm_loads.cuh"

namespace sparsebp::cuda {

struct DepthwiseArgs {
  Window window;
  int kernel_h;
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
  Mask gate;        // backward only: of y, its channels from gate_channel on; what does not pass becomes zero
  Index gate_channel;
};

constexpr int kDepthwiseThreads = 256;

// Eight floats, or the first `count` of them.
template <bool kFours>
__device__ inline void load_eight(const float* from, int count, float* to) {
  if constexpr (kFours) {
    load<4>(from, to), load<4>(from + 4, to + 4);
  } else {
    SPARSEBP_UNROLL
    for (int i = 0; i < 8; ++i) to[i] = i < count ? from[i] : 0.0f;
  }
}

template <bool kFours>
__device__ inline void store_eight(float* to, int count, const float* from) {
  if constexpr (kFours) {
    *reinterpret_cast<float4*>(to) = float4{from[0], from[1], from[2], from[3]};
    *reinterpret_cast<float4*>(to + 4) = float4{from[4], from[5], from[6], from[7]};
  } else {
    SPARSEBP_UNROLL
    for (int i = 0; i < 8; ++i) {
      if (i < count) to[i] = from[i];
    }
  }
}

// The input that tap `tap` of output `at` reads, or (kBackward) the output whose tap reads input `at`; -1: there is
// none.
template <bool kBackward>
__device__ inline int meets(int at, int tap, int stride, int pad, int dilation, int size) {
  if constexpr (kBackward) {
    const int reach = at + pad - tap * dilation, out = stride == 1 ? reach : reach / stride;
    return reach >= 0 && out * stride == reach && out < size ? out : -1;
  } else {
    const int in = at * stride - pad + tap * dilation;
    return in >= 0 && in < size ? in : -1;
  }
}

// kKernel: the width and height of the kernel, 0 for any.
template <bool kBackward, bool kFours, int kAcross, int kKernel>
__global__ void __launch_bounds__(kDepthwiseThreads) depthwise(DepthwiseArgs args) {
  await_inputs();
  const Window& w = args.window;
  const int height = kBackward ? w.height : w.out_height, width = kBackward ? w.width : w.out_width;  // of y
  const int x_height = kBackward ? w.out_height : w.height, x_width = kBackward ? w.out_width : w.width;
  const int kernel_h = kKernel > 0 ? kKernel : args.kernel_h, kernel_w = kKernel > 0 ? kKernel : w.kernel_w;
  const auto [run, eight] =
      divide(static_cast<Index>(blockIdx.x) * kDepthwiseThreads + threadIdx.x, (args.channels + 7) / 8);
  const Pixel at =
      pixel_of(run, static_cast<Index>(height) * ((width + kAcross - 1) / kAcross), (width + kAcross - 1) / kAcross);
  if (at.image >= args.images) return;
  const int c = static_cast<int>(eight) * 8, count = args.channels - c < 8 ? args.channels - c : 8;
  const int line = static_cast<int>(at.y), first = static_cast<int>(at.x) * kAcross;
  const float* image = args.x + at.image * x_height * x_width * args.x_pixel + c;
  float sums[kAcross][8] = {};
  SPARSEBP_UNROLL
  for (int h = 0; h < kernel_h; ++h) {
    const int x_line = meets<kBackward>(line, h, w.stride_h, w.pad_h, w.dilation_h, x_height);
    if (x_line < 0) continue;
    SPARSEBP_UNROLL
    for (int v = 0; v < kernel_w; ++v) {
      float weight[8];
      load_eight<kFours>(args.weight + (h * kernel_w + v) * args.weight_row + c, count, weight);
      SPARSEBP_UNROLL
      for (int p = 0; p < kAcross; ++p) {
        const int column = meets<kBackward>(first + p, v, w.stride_w, w.pad_w, w.dilation_w, x_width);
        if (column < 0) continue;
        float x[8];
        load_eight<kFours>(image + (x_line * x_width + column) * args.x_pixel, count, x);
        SPARSEBP_UNROLL
        for (int i = 0; i < 8; ++i) sums[p][i] = fmaf(x[i], weight[i], sums[p][i]);
      }
    }
  }
  float scale[8], shift[8];
  args.norm.fold<8, !kBackward>(args.channel + c, count, scale, shift);
  SPARSEBP_UNROLL
  for (int p = 0; p < kAcross; ++p) {
    if (first + p >= width) continue;
    const Index pixel = (at.image * height + line) * width + first + p;
    float* y = args.y + pixel * args.y_pixel + c;
    float out[8], before[8] = {};
    if (kBackward && args.accumulate) load_eight<kFours>(y, count, before);
    const bool gated = kBackward && args.gate.data != nullptr;
    const unsigned open = gated ? *args.gate.byte(pixel, args.gate_channel + c) : ~0u;
    unsigned bits = 0;
    SPARSEBP_UNROLL
    for (int i = 0; i < 8; ++i) {
      if constexpr (kBackward) {
        out[i] = (open >> i & 1) != 0 ? fmaf(scale[i], sums[p][i], before[i]) : before[i];
      } else {
        out[i] = activate(fmaf(scale[i], sums[p][i], shift[i]), args.activation);
        bits |= static_cast<unsigned>(i < count && passes(out[i], args.activation)) << i;
      }
    }
    store_eight<kFours>(y, count, out);
    if (!kBackward && args.mask.data != nullptr) {
      *args.mask.byte(args.mask_row + pixel, args.channel + c) = static_cast<std::uint8_t>(bits);
    }
  }
}

// Several pixels a thread where there is work for all processors, one otherwise.
template <bool kBackward>
void start_depthwise(const Queue& queue, const DepthwiseArgs& args) {
  const Window& w = args.window;
  const int height = kBackward ? w.height : w.out_height, width = kBackward ? w.width : w.out_width;
  const auto threads = [&](int across) {
    return args.images * height * ((width + across - 1) / across) * ((args.channels + 7) / 8);
  };
  const bool fours = in_fours(args.x, args.x_pixel) && in_fours(args.y, args.y_pixel) &&
                     in_fours(args.weight, args.weight_row) && args.channels % 8 == 0;
  const bool three = args.kernel_h == 3 && w.kernel_w == 3;
  const bool many = fours && threads(4) >= static_cast<Index>(queue.processors) * kDepthwiseThreads;
  auto kernel = &depthwise<kBackward, false, 1, 0>;
  if (fours && three) {
    kernel = many ? &depthwise<kBackward, true, 4, 3> : &depthwise<kBackward, true, 1, 3>;
  } else if (fours) {
    kernel = many ? &depthwise<kBackward, true, 4, 0> : &depthwise<kBackward, true, 1, 0>;
  }
  launch(queue, kernel, dim3(blocks(threads(many ? 4 : 1), kDepthwiseThreads)), kDepthwiseThreads, args);
}

}  // namespace sparsebp::cuda

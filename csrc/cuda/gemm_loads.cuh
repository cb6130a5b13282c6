// What a thread reads of A and B: one float or four neighbours at a time. Whatever does not change from chunk to chunk
// of the depth is found once.
#pragma once

#include "cuda/product.h"

namespace sparsebp::cuda {

// The rows of A from row m on, every kStep-th of them, kCount in all.
template <Product kProduct, int kCount, int kStep>
struct RowsOfA {
  static constexpr bool kPlain = !has_windows(kProduct) && !has_outputs(kProduct);
  static constexpr int kPlaces = kPlain ? 1 : kCount;
  int first;
  int pixel[kPlaces], y[kPlaces], x[kPlaces];  // of A's image, and in it: before the kernel's taps are counted in

  __device__ RowsOfA(const GemmArgs& args, int m) : first(m) {
    if constexpr (!kPlain) {
      const Window& w = args.window;
      const int pixels = has_windows(kProduct) ? w.out_pixels : w.pixels;
      const int width = has_windows(kProduct) ? w.out_width : w.width;
      SPARSEBP_UNROLL
      for (int i = 0; i < kCount; ++i) {
        const int row = m + i * kStep, image = row / pixels, place = row - image * pixels;
        const int down = place / width, across = place - down * width;
        pixel[i] = image * (has_windows(kProduct) ? w.pixels : w.out_pixels);
        y[i] = has_windows(kProduct) ? down * w.stride_h - w.pad_h : down + w.pad_h;
        x[i] = has_windows(kProduct) ? across * w.stride_w - w.pad_w : across + w.pad_w;
      }
    }
  }

  // Where element k of row number i lies; null where it is zero.
  __device__ const float* at(const GemmArgs& args, int i, int k) const {
    const int row = first + i * kStep;
    if (row >= args.rows || k >= args.depth) return nullptr;
    const Window& w = args.window;
    if constexpr (kPlain) {
      return args.a + row * args.a_row + k;
    } else if constexpr (has_windows(kProduct)) {
      const int tap = k / w.in_per_group, down = tap / w.kernel_w;
      const int iy = y[i] + down * w.dilation_h, ix = x[i] + (tap - down * w.kernel_w) * w.dilation_w;
      if (iy < 0 || ix < 0 || iy >= w.height || ix >= w.width) return nullptr;
      return args.a + (pixel[i] + iy * w.width + ix) * args.a_row + (k - tap * w.in_per_group);
    } else {
      const int tap = k / args.out_count, from = tap / w.kernel_w;
      const int down = y[i] - from * w.dilation_h, across = x[i] - (tap - from * w.kernel_w) * w.dilation_w;
      if (down < 0 || across < 0) return nullptr;
      const int oy = down / w.stride_h, ox = across / w.stride_w;
      if (oy * w.stride_h != down || ox * w.stride_w != across || oy >= w.out_height || ox >= w.out_width) {
        return nullptr;
      }
      return args.a + (pixel[i] + oy * w.out_width + ox) * args.a_row + (k - tap * args.out_count);
    }
  }
};

// Floats [0, kCount) from there on; zeros where there is nothing.
template <int kCount>
__device__ inline void load(const float* from, float* to) {
  if constexpr (kCount == 4) {
    const float4 found = from != nullptr ? *reinterpret_cast<const float4*>(from) : float4{0, 0, 0, 0};
    to[0] = found.x, to[1] = found.y, to[2] = found.z, to[3] = found.w;
  } else {
    to[0] = from != nullptr ? *from : 0.0f;
  }
}

// The scales of columns k, k + 1, ... of A.
template <Product kProduct, int kCount>
__device__ inline void load_scales(const GemmArgs& args, int k, float* to) {
  const int channel = has_outputs(kProduct)   ? k % args.out_count
                      : has_windows(kProduct) ? k % args.window.in_per_group
                                              : k;
  load<kCount>(k < args.depth ? args.a_scale + channel : nullptr, to);
}

// Element (k, n) of B, and those behind it in memory.
template <Product kProduct, int kCount>
__device__ inline void load_b(const GemmArgs& args, int k, int n, float* to) {
  const float* from = nullptr;
  if (k < args.depth && n < args.cols) {
    if constexpr (kProduct == Product::rows_back) {
      from = args.b + n * args.b_row + k;
    } else if constexpr (turns_weights(kProduct)) {
      const int tap = k / args.out_count;
      from = args.b + (static_cast<Index>(tap) * args.cols + n) * args.b_row + (k - tap * args.out_count);
    } else {
      from = args.b + k * args.b_row + n;
    }
  }
  load<kCount>(from, to);
}

// May a thread take four neighbours of A, of B and of C at a time?
template <Product kProduct>
bool loads_fours(const GemmArgs& args) {
  const int channels = has_windows(kProduct) ? args.window.in_per_group : has_outputs(kProduct) ? args.out_count : 4;
  const int along = runs_along_depth(kProduct) ? (turns_weights(kProduct) ? args.out_count : args.depth) : args.cols;
  return in_fours(args.a, args.a_row) && in_fours(args.b, args.b_row) && in_fours(args.c, args.c_row) &&
         (args.a_scale == nullptr || in_fours(args.a_scale, 4)) &&
         (args.residual == nullptr || in_fours(args.residual, args.residual_row)) && args.depth % 4 == 0 &&
         channels % 4 == 0 && along % 4 == 0 && args.cols % 4 == 0;
}

}  // namespace sparsebp::cuda

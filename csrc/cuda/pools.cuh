// Pooling: averages of windows, of parts as equal as can be, of whole images; and the largest number of each window.
// Backward each input number gathers from the windows that have it.
#pragma once

#include "cuda/elementwise.cuh"
#include "program/parts.h"

namespace sparsebp::cuda {

struct PoolArgs {
  ConvShape shape;
  Index images;
  const float* x;      // backward: gradient of the output
  float* y;            // backward: gradient of the input
  Index x_row, y_row;  // forward: elements from one pixel to the next, of which `in` are pooled
  bool count_padding, accumulate;
};

// Of output pixel (oy, ox), whose taps inside the image these are.
__device__ inline float window_weight(const PoolArgs& args, Index oy, Index ox, Range kh, Range kw) {
  const Index inside = (kh.end - kh.begin) * (kw.end - kw.begin);
  return 1.0f / static_cast<float>(args.count_padding ? padded_taps(args.shape, oy, ox) : inside);
}

[[maybe_unused]] static __global__ void pool_forward(PoolArgs args) {
  await_inputs();
  const ConvShape& s = args.shape;
  const auto [pixel, c] = divide(element(), s.in);
  if (pixel >= args.images * s.out_pixels()) return;
  const auto [n, oy, ox] = pixel_of(pixel, s.out_pixels(), s.out_width);
  const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, 1, s.height);
  const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, 1, s.width);
  float sum = 0;
  for (Index h = kh.begin; h < kh.end; ++h) {
    for (Index w = kw.begin; w < kw.end; ++w) {
      const Index in = n * s.pixels() + (oy * s.stride_h - s.pad_h + h) * s.width + ox * s.stride_w - s.pad_w + w;
      sum += args.x[in * args.x_row + c];
    }
  }
  args.y[pixel * args.y_row + c] = sum * window_weight(args, oy, ox, kh, kw);
}

// Gathers: an input pixel's gradient comes from every window that has it.
[[maybe_unused]] static __global__ void pool_backward(PoolArgs args) {
  await_inputs();
  const ConvShape& s = args.shape;
  const Index i = element();
  const auto [pixel, c] = divide(i, s.in);
  if (pixel >= args.images * s.pixels()) return;
  const auto [n, iy, ix] = pixel_of(pixel, s.pixels(), s.width);
  float sum = args.accumulate ? args.y[i] : 0.0f;
  for (Index h = 0; h < s.kernel_h; ++h) {
    const Index down = iy + s.pad_h - h;
    if (down < 0) continue;
    const auto [oy, beside_h] = divide(down, s.stride_h);
    if (beside_h != 0 || oy >= s.out_height) continue;
    const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, 1, s.height);
    for (Index w = 0; w < s.kernel_w; ++w) {
      const Index across = ix + s.pad_w - w;
      if (across < 0) continue;
      const auto [ox, beside_w] = divide(across, s.stride_w);
      if (beside_w != 0 || ox >= s.out_width) continue;
      const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, 1, s.width);
      const Index out = n * s.out_pixels() + oy * s.out_width + ox;
      sum = fmaf(args.x[out * s.in + c], window_weight(args, oy, ox, kh, kw), sum);
    }
  }
  args.y[i] = sum;
}

struct UnpoolArgs {
  const float* dy;  // [images][channels], from the block's first channel on
  float* dz;        // [images * pixels][dz_row]
  Index images, pixels, dy_row, dz_row, count;
};

// Global average pooling backward, for a block of channels.
[[maybe_unused]] static __global__ void unpool(UnpoolArgs args) {
  await_inputs();
  const auto [row, c] = divide(element(), args.count);
  if (row >= args.images * args.pixels) return;
  const float weight = 1.0f / static_cast<float>(args.pixels);
  args.dz[row * args.dz_row + c] = args.dy[divide(row, args.pixels).quotient * args.dy_row + c] * weight;
}

// The means of `count` channels of each image of x, whose sides are a layer's output's.
inline void average_images(const Queue& queue, const float* x, Index x_row, float* y, Index y_row, Index images,
                           const ConvShape& of, Index count) {
  PoolArgs args{};
  ConvShape& s = args.shape;
  s.in = s.out = count, s.height = s.kernel_h = of.out_height, s.width = s.kernel_w = of.out_width;
  args.images = images, args.x = x, args.x_row = x_row, args.y = y, args.y_row = y_row;
  args.count_padding = true;
  each(queue, &pool_forward, images * count, args);
}

struct MaxPoolArgs {
  ConvShape shape;
  Index images;
  const float* x;      // backward: gradient of the output
  float* y;            // backward: gradient of the input
  std::uint8_t* taps;  // null: not wanted
  int bits;            // of a tap: 2, 4 or 8
  bool accumulate;
};

// A thread takes the channels whose taps share a byte. Of equal numbers the first counts, and a NaN before all.
[[maybe_unused]] static __global__ void max_pool_forward(MaxPoolArgs args) {
  await_inputs();
  const ConvShape& s = args.shape;
  const Index share = 8 / args.bits, bytes = (s.in + share - 1) / share;
  const auto [pixel, byte] = divide(element(), bytes);
  if (pixel >= args.images * s.out_pixels()) return;
  const auto [n, oy, ox] = pixel_of(pixel, s.out_pixels(), s.out_width);
  const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.height);
  const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.width);
  const Index corner = n * s.pixels() + (oy * s.stride_h - s.pad_h) * s.width + ox * s.stride_w - s.pad_w;
  unsigned taps = 0;
  for (Index j = 0; j < share && byte * share + j < s.in; ++j) {
    const Index c = byte * share + j;
    float most = 0;
    Index tap = -1;
    for (Index h = kh.begin; h < kh.end; ++h) {
      for (Index w = kw.begin; w < kw.end; ++w) {
        const Index place = corner + h * s.dilation_h * s.width + w * s.dilation_w;
        const float x = args.x[place * s.in + c];
        if (tap >= 0 && !(x > most) && x == x) continue;
        most = x, tap = h * s.kernel_w + w;
      }
    }
    args.y[pixel * s.in + c] = most;
    taps |= static_cast<unsigned>(tap) << (j * args.bits);
  }
  if (args.taps != nullptr) args.taps[pixel * bytes + byte] = static_cast<std::uint8_t>(taps);
}

[[maybe_unused]] static __global__ void max_pool_backward(MaxPoolArgs args) {
  await_inputs();
  const ConvShape& s = args.shape;
  const Index i = element();
  const auto [pixel, c] = divide(i, s.in);
  if (pixel >= args.images * s.pixels()) return;
  const auto [n, iy, ix] = pixel_of(pixel, s.pixels(), s.width);
  const Index share = 8 / args.bits, bytes = (s.in + share - 1) / share;
  const auto [byte, place] = divide(c, share);
  const unsigned mask = (1u << args.bits) - 1;
  float sum = args.accumulate ? args.y[i] : 0.0f;
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
      const unsigned tap = args.taps[out * bytes + byte] >> (place * args.bits) & mask;
      if (tap == static_cast<unsigned>(h * s.kernel_w + w)) sum += args.x[out * s.in + c];
    }
  }
  args.y[i] = sum;
}

struct AdaptivePoolArgs {
  Index images, height, width, out_height, out_width, channels;
  const float* x;  // backward: gradient of the output
  float* y;        // backward: gradient of the input
  bool accumulate;
};

[[maybe_unused]] static __global__ void adaptive_pool_forward(AdaptivePoolArgs args) {
  await_inputs();
  const Index i = element();
  const auto [pixel, c] = divide(i, args.channels);
  if (pixel >= args.images * args.out_height * args.out_width) return;
  const auto [n, oy, ox] = pixel_of(pixel, args.out_height * args.out_width, args.out_width);
  const Range rows = part_of(oy, args.out_height, args.height), columns = part_of(ox, args.out_width, args.width);
  float sum = 0;
  for (Index y = rows.begin; y < rows.end; ++y) {
    for (Index x = columns.begin; x < columns.end; ++x) {
      sum += args.x[((n * args.height + y) * args.width + x) * args.channels + c];
    }
  }
  args.y[i] = sum / static_cast<float>((rows.end - rows.begin) * (columns.end - columns.begin));
}

[[maybe_unused]] static __global__ void adaptive_pool_backward(AdaptivePoolArgs args) {
  await_inputs();
  const Index i = element();
  const auto [pixel, c] = divide(i, args.channels);
  if (pixel >= args.images * args.height * args.width) return;
  const auto [n, iy, ix] = pixel_of(pixel, args.height * args.width, args.width);
  const Range down = parts_with(iy, args.out_height, args.height), across = parts_with(ix, args.out_width, args.width);
  float sum = args.accumulate ? args.y[i] : 0.0f;
  for (Index oy = down.begin; oy < down.end; ++oy) {
    const Range rows = part_of(oy, args.out_height, args.height);
    for (Index ox = across.begin; ox < across.end; ++ox) {
      const Range columns = part_of(ox, args.out_width, args.width);
      const float weight = 1.0f / static_cast<float>((rows.end - rows.begin) * (columns.end - columns.begin));
      sum += args.x[((n * args.out_height + oy) * args.out_width + ox) * args.channels + c] * weight;
    }
  }
  args.y[i] = sum;
}

}  // namespace sparsebp::cuda

// Kernels that take an element, or a byte of a mask, at a time: gathering saved slices, adding, activations, dropout,
// pooling, looking for what is not finite.
#pragma once

#include "core/random.h"
#include "cuda/args.h"

namespace sparsebp::cuda {

constexpr int kElementThreads = 256;

__device__ inline Index element() { return static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; }

struct GatherArgs {
  const float* x;
  Index x_pixel, pixels, selected;
  const std::int32_t* indices;  // null: the first `selected` channels
  float* out;                   // [pixels][selected]
};

[[maybe_unused]] static __global__ void gather(GatherArgs args) {
  const Index i = element();
  if (i >= args.pixels * args.selected) return;
  const auto [pixel, j] = divide(i, args.selected);
  args.out[i] = args.x[pixel * args.x_pixel + (args.indices != nullptr ? args.indices[j] : j)];
}

struct AddArgs {
  const float *a, *b;  // b null: zeros
  float* out;          // may be a or b
  Index count;
};

[[maybe_unused]] static __global__ void add(AddArgs args) {
  const Index i = element();
  if (i < args.count) args.out[i] = args.a[i] + (args.b != nullptr ? args.b[i] : 0.0f);
}

struct ActivationArgs {
  const float* x;
  float* y;  // may be x
  Index rows, channels;
  Activation activation;
  Mask mask;
};

// A thread takes eight channels of a row.
[[maybe_unused]] static __global__ void activation_forward(ActivationArgs args) {
  const auto [row, eight] = divide(element(), (args.channels + 7) / 8);
  const Index c = eight * 8;
  if (row >= args.rows) return;
  unsigned bits = 0;
  for (Index i = c; i < c + 8 && i < args.channels; ++i) {
    const float y = activate(args.x[row * args.channels + i], args.activation);
    args.y[row * args.channels + i] = y;
    bits |= static_cast<unsigned>(passes(y, args.activation)) << (i - c);
  }
  if (args.mask.data != nullptr) *args.mask.byte(row, c) = static_cast<std::uint8_t>(bits);
}

struct MaskedArgs {
  const float* dy;
  float* dx;
  Index rows, channels;
  Mask mask;
  float factor;
  bool accumulate;
};

[[maybe_unused]] static __global__ void masked(MaskedArgs args) {
  const Index i = element();
  if (i >= args.rows * args.channels) return;
  const auto [row, c] = divide(i, args.channels);
  const float g = args.mask.passes(row, c) ? args.dy[i] * args.factor : 0.0f;
  args.dx[i] = args.accumulate ? args.dx[i] + g : g;
}

struct DropoutArgs {
  const float* x;
  float* y;
  Index count;
  const std::uint64_t* key;  // of the step
  std::uint64_t op;
  double drop;
  float factor;
  bool drops;
  std::uint8_t* mask;  // null: not wanted
};

// A thread takes the eight elements of a byte.
[[maybe_unused]] static __global__ void dropout(DropoutArgs args) {
  const Index first = element() * 8;
  if (first >= args.count) return;
  const std::uint64_t key = mix64(*args.key ^ args.op);
  unsigned bits = 0;
  for (Index i = first; i < first + 8 && i < args.count; ++i) {
    const bool keep = !args.drops || random_unit(key, static_cast<std::uint64_t>(i)) >= args.drop;
    args.y[i] = !keep ? 0.0f : args.drops ? args.x[i] * args.factor : args.x[i];
    bits |= static_cast<unsigned>(keep) << (i - first);
  }
  if (args.mask != nullptr) args.mask[first / 8] = static_cast<std::uint8_t>(bits);
}

struct PoolArgs {
  ConvShape shape;
  Index images;
  const float* x;      // backward: gradient of the output
  float* y;            // backward: gradient of the input
  Index x_row, y_row;  // forward: elements from one pixel to the next, of which `in` are pooled
  bool count_padding, accumulate;
};

__device__ inline float window_weight(const PoolArgs& args, Range kh, Range kw) {
  const Index inside = (kh.end - kh.begin) * (kw.end - kw.begin);
  return 1.0f / static_cast<float>(args.count_padding ? args.shape.taps() : inside);
}

[[maybe_unused]] static __global__ void pool_forward(PoolArgs args) {
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
  args.y[pixel * args.y_row + c] = sum * window_weight(args, kh, kw);
}

// Gathers: an input pixel's gradient comes from every window that has it.
[[maybe_unused]] static __global__ void pool_backward(PoolArgs args) {
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
      sum = fmaf(args.x[out * s.in + c], window_weight(args, kh, kw), sum);
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
  const auto [row, c] = divide(element(), args.count);
  if (row >= args.images * args.pixels) return;
  const float weight = 1.0f / static_cast<float>(args.pixels);
  args.dz[row * args.dz_row + c] = args.dy[divide(row, args.pixels).quotient * args.dy_row + c] * weight;
}

struct FiniteArgs {
  const float* x;
  Index count;
  int* spoilt;
};

[[maybe_unused]] static __global__ void find_spoilt(FiniteArgs args) {
  const Index i = element();
  if (i < args.count && !(args.x[i] * 0.0f == 0.0f)) *args.spoilt = 1;
}

// A launch of any of the above, for so many threads.
template <class Args>
void each(const Queue& queue, void (*kernel)(Args), Index count, const Args& args) {
  launch(queue, kernel, dim3(blocks(count, kElementThreads)), kElementThreads, args);
}

}  // namespace sparsebp::cuda

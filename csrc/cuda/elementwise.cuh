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
  const Index pixel = i / args.selected, j = i % args.selected;
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
  const Index eights = (args.channels + 7) / 8, unit = element(), row = unit / eights, c = unit % eights * 8;
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
  const float g = args.mask.passes(i / args.channels, i % args.channels) ? args.dy[i] * args.factor : 0.0f;
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
  const Index i = element(), c = i % s.in, pixel = i / s.in;
  if (pixel >= args.images * s.out_pixels()) return;
  const Index n = pixel / s.out_pixels(), oy = pixel % s.out_pixels() / s.out_width, ox = pixel % s.out_width;
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
  const Index i = element(), c = i % s.in, pixel = i / s.in;
  if (pixel >= args.images * s.pixels()) return;
  const Index n = pixel / s.pixels(), iy = pixel % s.pixels() / s.width, ix = pixel % s.width;
  float sum = args.accumulate ? args.y[i] : 0.0f;
  for (Index h = 0; h < s.kernel_h; ++h) {
    const Index down = iy + s.pad_h - h;
    if (down < 0 || down % s.stride_h != 0 || down / s.stride_h >= s.out_height) continue;
    const Range kh = valid_taps(down / s.stride_h, s.kernel_h, s.stride_h, s.pad_h, 1, s.height);
    for (Index w = 0; w < s.kernel_w; ++w) {
      const Index across = ix + s.pad_w - w;
      if (across < 0 || across % s.stride_w != 0 || across / s.stride_w >= s.out_width) continue;
      const Range kw = valid_taps(across / s.stride_w, s.kernel_w, s.stride_w, s.pad_w, 1, s.width);
      const Index out = n * s.out_pixels() + down / s.stride_h * s.out_width + across / s.stride_w;
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
  const Index i = element(), row = i / args.count, c = i % args.count;
  if (row >= args.images * args.pixels) return;
  const float weight = 1.0f / static_cast<float>(args.pixels);
  args.dz[row * args.dz_row + c] = args.dy[row / args.pixels * args.dy_row + c] * weight;
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

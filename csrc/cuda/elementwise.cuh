// Kernels that take an element, or a byte of a mask, at a time, and what all such kernels need: gathering saved slices,
// folding norms, adding, a layer's activation on its own, looking for what is not finite.
#pragma once

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
  await_inputs();
  const Index i = element();
  if (i >= args.pixels * args.selected) return;
  const auto [pixel, j] = divide(i, args.selected);
  args.out[i] = args.x[pixel * args.x_pixel + (args.indices != nullptr ? args.indices[j] : j)];
}

struct FoldArgs {
  Norm norm;
  Index count;
  float *scale, *shift;  // null: not wanted
};

[[maybe_unused]] static __global__ void fold(FoldArgs args) {
  await_inputs();
  const Index c = element();
  if (c >= args.count) return;
  float scale, shift;
  args.norm.fold<1, true>(c, 1, &scale, &shift);
  if (args.scale != nullptr) args.scale[c] = scale;
  if (args.shift != nullptr) args.shift[c] = shift;
}

struct AddArgs {
  const float* a;  // null: zeros
  const float* b;
  float* out;  // may be a or b
  Index count;
  float alpha;
};

// a + alpha b
[[maybe_unused]] static __global__ void add(AddArgs args) {
  await_inputs();
  const Index i = element();
  if (i >= args.count) return;
  const float b = args.alpha * args.b[i];
  args.out[i] = args.a != nullptr ? args.a[i] + b : b;
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
  await_inputs();
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
  bool accumulate;
};

[[maybe_unused]] static __global__ void masked(MaskedArgs args) {
  await_inputs();
  const Index i = element();
  if (i >= args.rows * args.channels) return;
  const auto [row, c] = divide(i, args.channels);
  put(args.dx[i], args.mask.passes(row, c) ? args.dy[i] : 0.0f, args.accumulate);
}

struct FiniteArgs {
  const float* x;
  Index count;
  int* spoilt;
};

[[maybe_unused]] static __global__ void find_spoilt(FiniteArgs args) {
  await_inputs();
  const Index i = element();
  if (i < args.count && !(args.x[i] * 0.0f == 0.0f)) *args.spoilt = 1;
}

// A launch of any of the above, for so many threads.
template <class Args>
void each(const Queue& queue, void (*kernel)(Args), Index count, const Args& args) {
  launch(queue, kernel, dim3(blocks(count, kElementThreads)), kElementThreads, args);
}

}  // namespace sparsebp::cuda

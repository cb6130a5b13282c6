// The matrix products that convolutions are made of, and the arguments of the kernel that computes them.
#pragma once

#include "cuda/args.h"

namespace sparsebp::cuda {

// What the elements of A and B are.
enum class Product {
  rows,            // A: rows of pixels; B: rows of the weight, [in][out]
  rows_back,       // A: rows of gradients; B: its transpose
  convolution,     // A: the windows of x; B: weight rows (tap, in)
  gradient_back,   // A: the outputs whose windows have an input pixel; B: weights (tap, out)
  transposed,      // A: as gradient_back, where the outputs are x; B: as convolution
  transposed_back  // A: as convolution, where x is the gradient; B: as gradient_back
};
SPARSEBP_HOST_DEVICE constexpr bool has_windows(Product p) {
  return p == Product::convolution || p == Product::transposed_back;
}
SPARSEBP_HOST_DEVICE constexpr bool has_outputs(Product p) {
  return p == Product::gradient_back || p == Product::transposed;
}
SPARSEBP_HOST_DEVICE constexpr bool turns_weights(Product p) {
  return p == Product::gradient_back || p == Product::transposed_back;
}
// Neighbours in memory are elements of a column of B.
SPARSEBP_HOST_DEVICE constexpr bool runs_along_depth(Product p) { return p == Product::rows_back || turns_weights(p); }

// A ConvShape in the numbers that a GPU divides fast.
struct Window {
  int height, width, pixels, out_height, out_width, out_pixels, in_per_group;
  int kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

inline Window window_of(const ConvShape& s) {
  const auto small = [](Index n) { return static_cast<int>(n); };
  return {small(s.height),       small(s.width),          small(s.pixels()),   small(s.out_height), small(s.out_width),
          small(s.out_pixels()), small(s.in_per_group()), small(s.kernel_w),   small(s.stride_h),   small(s.stride_w),
          small(s.pad_h),        small(s.pad_w),          small(s.dilation_h), small(s.dilation_w)};
}

struct GemmArgs {
  const float *a, *b;
  float* c;
  Index a_row, b_row, c_row;
  int rows, cols, depth;
  const float* a_scale;   // null: ones; of a column of A
  Window window;          // but of rows
  int out_count;          // channels of a tap, where A has outputs or B is turned: of a group
  bool accumulate;        // add what C holds
  const float* residual;  // null: none; added at the end
  Index residual_row;
  bool affine;  // scale, shift, activation and mask of the layer's output channels, from `channel` on
  Index channel;
  Norm norm;
  Activation activation;
  Mask mask;  // its rows are C's, shifted by mask_row
  Index mask_row;
  Mask gate;  // of C, its channels from gate_channel on: what does not pass becomes zero
  Index gate_channel;
};

// Can memory from `p` on, in rows of `row` floats, be read and written four floats at a time?
inline bool in_fours(const void* p, Index row) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && row % 4 == 0; }

}  // namespace sparsebp::cuda

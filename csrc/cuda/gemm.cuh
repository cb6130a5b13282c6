// Matrix products: every convolution forward but the depthwise ones, and every input gradient.
//
// C (rows x cols) from A (rows x depth) and B (depth x cols). A block computes a tile of kRows x kCols; its threads are
// kSplits teams, each of which takes every kSplits-th chunk of the depth, and their sums are added in one order. So a
// product with few rows and columns but a long sum still has work for many threads.
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
};

template <Product kProduct>
__device__ inline float element_a(const GemmArgs& args, int m, int k) {
  const Window& w = args.window;
  float value = 0;
  if constexpr (has_windows(kProduct)) {
    const int tap = k / w.in_per_group;
    k -= tap * w.in_per_group;
    const int n = m / w.out_pixels, pixel = m - n * w.out_pixels;
    const int oy = pixel / w.out_width, ox = pixel - oy * w.out_width;
    const int iy = oy * w.stride_h - w.pad_h + tap / w.kernel_w * w.dilation_h;
    const int ix = ox * w.stride_w - w.pad_w + tap % w.kernel_w * w.dilation_w;
    if (iy < 0 || ix < 0 || iy >= w.height || ix >= w.width) return 0;
    value = args.a[(static_cast<Index>(n) * w.pixels + iy * w.width + ix) * args.a_row + k];
  } else if constexpr (has_outputs(kProduct)) {
    const int tap = k / args.out_count;
    k -= tap * args.out_count;
    const int n = m / w.pixels, pixel = m - n * w.pixels, iy = pixel / w.width, ix = pixel - iy * w.width;
    const int down = iy + w.pad_h - tap / w.kernel_w * w.dilation_h;
    const int across = ix + w.pad_w - tap % w.kernel_w * w.dilation_w;
    if (down < 0 || across < 0) return 0;
    const int oy = down / w.stride_h, ox = across / w.stride_w;
    if (oy * w.stride_h != down || ox * w.stride_w != across || oy >= w.out_height || ox >= w.out_width) return 0;
    value = args.a[(static_cast<Index>(n) * w.out_pixels + oy * w.out_width + ox) * args.a_row + k];
  } else {
    value = args.a[m * args.a_row + k];
  }
  return args.a_scale != nullptr ? value * args.a_scale[k] : value;
}

template <Product kProduct>
__device__ inline float element_b(const GemmArgs& args, int k, int n) {
  if constexpr (kProduct == Product::rows_back) return args.b[n * args.b_row + k];
  if constexpr (turns_weights(kProduct)) {
    const int tap = k / args.out_count;
    return args.b[(static_cast<Index>(tap) * args.cols + n) * args.b_row + (k - tap * args.out_count)];
  }
  return args.b[k * args.b_row + n];
}

// The end of eight neighbouring columns of a row.
__device__ inline void finish(const GemmArgs& args, int m, int n, const float* sums) {
  float* c = args.c + m * args.c_row + n;
  unsigned bits = 0;
  SPARSEBP_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (n + i >= args.cols) continue;
    float y = sums[i];
    if (args.accumulate) y += c[i];
    if (args.affine) {
      const Index channel = args.channel + n + i;
      const float scale = args.norm.scale(channel);
      y = activate(fmaf(scale, y, args.norm.shift(channel, scale)), args.activation);
      bits |= static_cast<unsigned>(passes(y, args.activation)) << i;
    }
    if (args.residual != nullptr) y += args.residual[m * args.residual_row + n + i];
    c[i] = y;
  }
  if (args.mask.data != nullptr) *args.mask.byte(args.mask_row + m, args.channel + n) = static_cast<std::uint8_t>(bits);
}

constexpr int kDepth = 16;  // of a chunk

template <Product kProduct, int kRows, int kCols, int kOwnRows, int kSplits>
__global__ void gemm(GemmArgs args) {
  constexpr int kTeam = kRows / kOwnRows * (kCols / 8), kSums = kOwnRows * 8;
  __shared__ float a[kSplits][kDepth][kRows + 1];
  __shared__ float b[kSplits][kDepth][kCols];
  __shared__ float parts[kSplits > 1 ? kTeam : 1][kSums];
  const int team = static_cast<int>(threadIdx.x) / kTeam, thread = static_cast<int>(threadIdx.x) % kTeam;
  // One dimension: the others take 65,535 blocks at most.
  const int wide = (args.cols + kCols - 1) / kCols, tile = static_cast<int>(blockIdx.x);
  const int row = tile / wide * kRows, col = tile % wide * kCols;
  const int own_row = thread / (kCols / 8) * kOwnRows, own_col = thread % (kCols / 8) * 8;
  float sums[kSums] = {};
  for (int begin = 0; begin < args.depth; begin += kSplits * kDepth) {
    const int first = begin + team * kDepth;
    for (int i = thread; i < kRows * kDepth; i += kTeam) {
      const int m = i / kDepth, k = i % kDepth;
      const bool inside = row + m < args.rows && first + k < args.depth;
      a[team][k][m] = inside ? element_a<kProduct>(args, row + m, first + k) : 0.0f;
    }
    for (int i = thread; i < kCols * kDepth; i += kTeam) {
      // Neighbouring threads read neighbouring numbers: along n, or along k where B is transposed.
      constexpr bool kTransposed = kProduct == Product::rows_back || turns_weights(kProduct);
      const int n = kTransposed ? i / kDepth : i % kCols, k = kTransposed ? i % kDepth : i / kCols;
      const bool inside = col + n < args.cols && first + k < args.depth;
      b[team][k][n] = inside ? element_b<kProduct>(args, first + k, col + n) : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kDepth; ++k) {
      for (int r = 0; r < kOwnRows; ++r) {
        const float factor = a[team][k][own_row + r];
        for (int i = 0; i < 8; ++i) sums[r * 8 + i] = fmaf(factor, b[team][k][own_col + i], sums[r * 8 + i]);
      }
    }
    __syncthreads();
  }
  for (int other = 1; other < kSplits; ++other) {
    if (team == other) {
      for (int i = 0; i < kSums; ++i) parts[thread][i] = sums[i];
    }
    __syncthreads();
    if (team == 0) {
      for (int i = 0; i < kSums; ++i) sums[i] += parts[thread][i];
    }
    __syncthreads();
  }
  if (team != 0 || col + own_col >= args.cols) return;
  SPARSEBP_UNROLL
  for (int r = 0; r < kOwnRows; ++r) {
    if (row + own_row + r < args.rows) finish(args, row + own_row + r, col + own_col, sums + r * 8);
  }
}

template <Product kProduct>
void multiply(const Queue& queue, const GemmArgs& args) {
  if (args.rows == 0 || args.cols == 0) return;
  constexpr int kLarge = 64, kSmallRows = 16, kSmallCols = 32, kSplits = 8;
  const unsigned wide = blocks(args.cols, kLarge), high = blocks(args.rows, kLarge);
  if (wide * high >= 2u * static_cast<unsigned>(queue.processors)) {
    launch(queue, &gemm<kProduct, kLarge, kLarge, 4, 1>, dim3(wide * high), kLarge / 4 * (kLarge / 8), args);
  } else {
    const dim3 grid(blocks(args.cols, kSmallCols) * blocks(args.rows, kSmallRows));
    launch(queue, &gemm<kProduct, kSmallRows, kSmallCols, 2, kSplits>, grid,
           kSmallRows / 2 * (kSmallCols / 8) * kSplits, args);
  }
}

}  // namespace sparsebp::cuda

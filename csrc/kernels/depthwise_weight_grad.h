// Depthwise convolution: weight gradient of one channel, some of its taps. Numbers of one channel lie far apart, so
// this is plain arithmetic; an update set has few channels. Per tap the sum runs over rows of outputs, each summed
// first.
#pragma once

#include "kernels/args.h"

namespace sparsebp {
namespace {

// Taps one after the other, for windows of any size.
template <class T>
inline void weight_grad_by_tap(const DepthwiseWeightGradArgs<T>& args) {
  const ConvShape& s = args.shape;
  for (Index tap = args.tap_begin; tap < args.tap_end; ++tap) {
    const Index kh = tap / s.kernel_w, kw = tap % s.kernel_w;
    const Range rows = valid_outputs(kh, s.out_height, s.stride_h, s.pad_h, s.dilation_h, s.height);
    const Range cols = valid_outputs(kw, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width);
    T total = 0;
    for (Index n = 0; n < args.images; ++n) {
      for (Index oy = rows.begin; oy < rows.end; ++oy) {
        const Index iy = oy * s.stride_h - s.pad_h + kh * s.dilation_h;
        const Index in = n * s.pixels() + iy * s.width - s.pad_w + kw * s.dilation_w;
        const Index out = n * s.out_pixels() + oy * s.out_width;
        T row = 0;  // a row's sum first: fewer terms per running total, smaller rounding error
        for (Index ox = cols.begin; ox < cols.end; ++ox) {
          row += args.saved[(in + ox * s.stride_w) * args.saved_pixel] * args.dz[(out + ox) * args.dz_pixel];
        }
        total += row;
      }
    }
    args.grad[tap - args.tap_begin] = total;
  }
}

// The nine taps of a 3x3 window at once: nine sums that do not wait for each other, and the gradient is read once.
template <class T>
inline void weight_grad3x3(const DepthwiseWeightGradArgs<T>& args) {
  const ConvShape& s = args.shape;
  Range cols[3];
  for (Index kw = 0; kw < 3; ++kw) {
    cols[kw] = valid_outputs(kw, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width);
  }
  // Outputs that all three columns of the window reach.
  Index begin = cols[0].begin > cols[1].begin ? cols[0].begin : cols[1].begin;
  Index end = cols[2].end < cols[1].end ? cols[2].end : cols[1].end;
  if (cols[2].begin > begin) begin = cols[2].begin;
  if (cols[0].end < end) end = cols[0].end;
  const Index across = s.dilation_w * args.saved_pixel, step = s.stride_w * args.saved_pixel;
  T totals[9] = {};
  for (Index n = 0; n < args.images; ++n) {
    for (Index oy = 0; oy < s.out_height; ++oy) {
      const Range kh = valid_taps(oy, 3, s.stride_h, s.pad_h, s.dilation_h, s.height);
      const T* dz = args.dz + (n * s.out_pixels() + oy * s.out_width) * args.dz_pixel;
      for (Index h = kh.begin; h < kh.end; ++h) {
        const Index iy = oy * s.stride_h - s.pad_h + h * s.dilation_h;
        const Index row = n * s.pixels() + iy * s.width - s.pad_w;  // of the column that output 0 reads first
        T sums[3] = {};  // a row's sum first: fewer terms per running total, smaller rounding error
        if (begin < end) {
          const T* x = args.saved + (row + begin * s.stride_w) * args.saved_pixel;
          const T* g = dz + begin * args.dz_pixel;
          for (Index ox = begin; ox < end; ++ox, x += step, g += args.dz_pixel) {
            sums[0] += x[0] * *g, sums[1] += x[across] * *g, sums[2] += x[2 * across] * *g;
          }
        }
        for (Index w = 0; w < 3; ++w) {
          for (Index ox = cols[w].begin; ox < cols[w].end; ++ox) {
            if (ox == begin && begin < end) ox = end;
            if (ox >= cols[w].end) break;
            sums[w] +=
                args.saved[(row + ox * s.stride_w + w * s.dilation_w) * args.saved_pixel] * dz[ox * args.dz_pixel];
          }
          totals[3 * h + w] += sums[w];
        }
      }
    }
  }
  for (Index tap = args.tap_begin; tap < args.tap_end; ++tap) args.grad[tap - args.tap_begin] = totals[tap];
}

template <class V>
void depthwise_weight_grad(const DepthwiseWeightGradArgs<typename V::value>& args) {
  if (args.shape.kernel_h == 3 && args.shape.kernel_w == 3) return weight_grad3x3(args);
  weight_grad_by_tap(args);
}

}  // namespace
}  // namespace sparsebp

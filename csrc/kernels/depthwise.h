// Depthwise convolution on a block of neighbouring channels: forward, input gradient, weight gradient of one channel.
//
// Vectorised over channels. Weights are [taps][channels of the layer]; the block's pointers are already offset. Per
// element the sum runs over kernel row, then kernel column.
#pragma once

#include "kernels/tile.h"

namespace sparsebp {
namespace {

template <class V>
inline V load_lanes(const typename V::value* p, int lanes) {
  return lanes == V::width ? V::load(p) : V::load_some(p, lanes);
}

template <class V>
inline void store_lanes(typename V::value* p, int lanes, V value) {
  if (lanes == V::width) {
    value.store(p);
  } else {
    value.store_some(p, lanes);
  }
}

template <class V>
void depthwise_forward(const DepthwiseArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  const Affine<T>& affine = args.affine;
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.height);
    for (Index ox = 0; ox < s.out_width; ++ox) {
      const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.width);
      const Index pixel = oy * s.out_width + ox;
      const Index corner = (oy * s.stride_h - s.pad_h) * s.width + ox * s.stride_w - s.pad_w;
      T* out = args.y + pixel * args.y_pixel;
      for (Index c = 0; c < args.channels; c += V::width) {
        const int lanes = static_cast<int>(args.channels - c < V::width ? args.channels - c : V::width);
        V acc = V::set(T(0));
        for (Index h = kh.begin; h < kh.end; ++h) {
          for (Index w = kw.begin; w < kw.end; ++w) {
            const Index at = corner + h * s.dilation_h * s.width + w * s.dilation_w;
            acc = V::fma(load_lanes<V>(args.x + at * args.x_pixel + c, lanes),
                         load_lanes<V>(args.weight + (h * s.kernel_w + w) * args.weight_row + c, lanes), acc);
          }
        }
        const V shift = affine.shift != nullptr ? load_lanes<V>(affine.shift + c, lanes) : V::set(T(0));
        acc = affine.scale != nullptr ? V::fma(load_lanes<V>(affine.scale + c, lanes), acc, shift) : V::add(acc, shift);
        store_lanes<V>(out + c, lanes, activate(acc, affine.activation));
      }
      if (affine.mask != nullptr) {
        write_mask<V>(out, args.channels, affine.activation, affine.mask + pixel * affine.mask_row);
      }
    }
  }
}

// For one input coordinate: which taps reach it, and from which output coordinate. Steps of one tap move the output
// by `-out_step` where dilation divides evenly; other taps do not reach it.
struct Reach {
  Index begin, step, out, out_step, count;
};

inline Reach reaching_taps(Index in, Index kernel, Index stride, Index pad, Index dilation, Index outputs) {
  // Tap t reaches output (in + pad - t * dilation) / stride where that is a whole number inside [0, outputs).
  Reach reach{0, 1, 0, 0, 0};
  Index last = -1;
  for (Index t = 0; t < kernel; ++t) {
    const Index at = in + pad - t * dilation;
    if (at < 0) break;
    if (at % stride != 0 || at / stride >= outputs) continue;
    if (reach.count == 0) {
      reach.begin = t;
      reach.out = at / stride;
    } else if (reach.count == 1) {
      reach.step = t - last;
      reach.out_step = reach.out - at / stride;
    }
    last = t;
    ++reach.count;
  }
  return reach;
}

template <class V>
void depthwise_input_grad(const DepthwiseArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  for (Index iy = args.row_begin; iy < args.row_end; ++iy) {
    const Reach rows = reaching_taps(iy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.out_height);
    for (Index ix = 0; ix < s.width; ++ix) {
      const Reach cols = reaching_taps(ix, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.out_width);
      T* out = args.y + (iy * s.width + ix) * args.y_pixel;
      for (Index c = 0; c < args.channels; c += V::width) {
        const int lanes = static_cast<int>(args.channels - c < V::width ? args.channels - c : V::width);
        V acc = V::set(T(0));
        for (Index h = 0; h < rows.count; ++h) {
          const Index oy = rows.out - h * rows.out_step, kh = rows.begin + h * rows.step;
          for (Index w = 0; w < cols.count; ++w) {
            const Index at = oy * s.out_width + cols.out - w * cols.out_step;
            const Index tap = kh * s.kernel_w + cols.begin + w * cols.step;
            acc = V::fma(load_lanes<V>(args.x + at * args.x_pixel + c, lanes),
                         load_lanes<V>(args.weight + tap * args.weight_row + c, lanes), acc);
          }
        }
        if (args.affine.scale != nullptr) acc = V::mul(acc, load_lanes<V>(args.affine.scale + c, lanes));
        if (args.accumulate) acc = V::add(load_lanes<V>(out + c, lanes), acc);
        store_lanes<V>(out + c, lanes, acc);
      }
    }
  }
}

template <class V>
void depthwise_weight_grad(const DepthwiseWeightGradArgs<typename V::value>& args) {
  using T = typename V::value;
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

}  // namespace
}  // namespace sparsebp

// Average pooling of one image on NHWC, forward and backward; global pooling is a window as large as the image.
#pragma once

#include "kernels/depthwise.h"

namespace sparsebp {
namespace {

// Of output pixel (oy, ox), whose taps inside the image these are.
template <class T>
inline T window_weight(const PoolArgs<T>& args, Index oy, Index ox, Range kh, Range kw) {
  const Index inside = (kh.end - kh.begin) * (kw.end - kw.begin);
  return T(1) / static_cast<T>(args.count_padding ? padded_taps(args.shape, oy, ox) : inside);
}

template <class V>
void pool_forward(const PoolArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, 1, s.height);
    for (Index ox = 0; ox < s.out_width; ++ox) {
      const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, 1, s.width);
      const V weight = V::set(window_weight(args, oy, ox, kh, kw));
      const Index corner = (oy * s.stride_h - s.pad_h - args.x_begin) * s.width + ox * s.stride_w - s.pad_w;
      T* out = args.y + ((oy - args.y_begin) * s.out_width + ox) * s.in;
      for (Index c = 0; c < s.in; c += V::width) {
        const int lanes = static_cast<int>(s.in - c < V::width ? s.in - c : V::width);
        V acc = V::set(T(0));
        for (Index h = kh.begin; h < kh.end; ++h) {
          for (Index w = kw.begin; w < kw.end; ++w) {
            acc = V::add(acc, load_lanes<V>(args.x + (corner + h * s.width + w) * s.in + c, lanes));
          }
        }
        store_lanes<V>(out + c, lanes, V::mul(acc, weight));
      }
    }
  }
}

// x is the gradient of the output, y of the input. Windows may overlap, so y is cleared first unless it accumulates.
template <class V>
void pool_backward(const PoolArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  if (!args.accumulate) {
    for (Index i = 0; i < s.pixels() * s.in; ++i) args.y[i] = T(0);
  }
  for (Index oy = 0; oy < s.out_height; ++oy) {
    const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, 1, s.height);
    for (Index ox = 0; ox < s.out_width; ++ox) {
      const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, 1, s.width);
      const V weight = V::set(window_weight(args, oy, ox, kh, kw));
      const Index corner = (oy * s.stride_h - s.pad_h) * s.width + ox * s.stride_w - s.pad_w;
      const T* g = args.x + (oy * s.out_width + ox) * s.in;
      for (Index h = kh.begin; h < kh.end; ++h) {
        for (Index w = kw.begin; w < kw.end; ++w) {
          T* out = args.y + (corner + h * s.width + w) * s.in;
          for (Index c = 0; c < s.in; c += V::width) {
            const int lanes = static_cast<int>(s.in - c < V::width ? s.in - c : V::width);
            store_lanes<V>(out + c, lanes, V::fma(load_lanes<V>(g + c, lanes), weight, load_lanes<V>(out + c, lanes)));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sparsebp

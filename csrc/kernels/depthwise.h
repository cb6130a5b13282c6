// Depthwise convolution on a block of neighbouring channels, forward.
//
// Vectorised over channels. Weights are [taps][channels of the layer]; the block's pointers are already offset. Per
// element the sum runs over kernel row, then kernel column. Windows of 3x3 have a header of their own; this one has
// the rest.
#pragma once

#include "kernels/depthwise3x3.h"

namespace sparsebp {
namespace {

// A window of taps: steps in elements from one tap to the next, down and across, of the activation and of the weight.
struct Window {
  Index rows, cols;
  Index x_down, x_across, weight_down, weight_across;
};

// Sums a window for `kVectors` neighbouring vectors of channels; without kFull, for the first `lanes` of one vector.
template <class V, int kVectors, bool kFull>
inline void window_sum(V (&acc)[kVectors], const typename V::value* x, const typename V::value* weight,
                       const Window& window, int lanes) {
  using T = typename V::value;
  for (V& a : acc) a = V::set(T(0));
  for (Index h = 0; h < window.rows; ++h) {
    const T* xs = x + h * window.x_down;
    const T* ws = weight + h * window.weight_down;
    for (Index w = 0; w < window.cols; ++w, xs += window.x_across, ws += window.weight_across) {
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (kFull) {
          acc[v] = V::fma(V::load(xs + v * V::width), V::load(ws + v * V::width), acc[v]);
        } else {
          acc[v] = V::fma(V::load_some(xs, lanes), V::load_some(ws, lanes), acc[v]);
        }
      }
    }
  }
}

// Calls `finish(c, lanes, sum)` for every vector of `channels` channels. Pairs of vectors hide the FMA latency.
template <class V, class Finish>
inline void each_window_sum(const typename V::value* x, const typename V::value* weight, const Window& window,
                            Index channels, const Finish& finish) {
  Index c = 0;
  for (; c + 2 * V::width <= channels; c += 2 * V::width) {
    V acc[2];
    window_sum<V, 2, true>(acc, x + c, weight + c, window, V::width);
    finish(c, V::width, acc[0]);
    finish(c + V::width, V::width, acc[1]);
  }
  for (; c + V::width <= channels; c += V::width) {
    V acc[1];
    window_sum<V, 1, true>(acc, x + c, weight + c, window, V::width);
    finish(c, V::width, acc[0]);
  }
  if (c < channels) {
    V acc[1];
    const int lanes = static_cast<int>(channels - c);
    window_sum<V, 1, false>(acc, x + c, weight + c, window, lanes);
    finish(c, lanes, acc[0]);
  }
}

template <class V>
inline void finish_depthwise(const Affine<typename V::value>& affine, typename V::value* out, Index c, int lanes,
                             V acc) {
  using T = typename V::value;
  const V shift = affine.shift != nullptr ? load_lanes<V>(affine.shift + c, lanes) : V::set(T(0));
  acc = affine.scale != nullptr ? V::fma(load_lanes<V>(affine.scale + c, lanes), acc, shift) : V::add(acc, shift);
  store_lanes<V>(out + c, lanes, activate(acc, affine.activation));
}

template <class V>
inline void forward_row3x3(const DepthwiseArgs<typename V::value>& args, const Window3x3& window, Index oy) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  const Affine<T>& affine = args.affine;
  const Range kh = valid_taps(oy, 3, s.stride_h, s.pad_h, s.dilation_h, s.height);
  const Index y = oy * s.stride_h - s.pad_h + s.dilation_h - args.x_begin, x = s.dilation_w - s.pad_w;
  T* out = args.y + (oy - args.y_begin) * s.out_width * args.y_pixel;
  outputs3x3<V>(window, kh, args.x + (y * s.width + x) * args.x_pixel, args.weight, args.weight_row, args.channels,
                [&](Index c, int lanes) {
                  const V scale = affine.scale != nullptr ? load_lanes<V>(affine.scale + c, lanes) : V::set(T(1));
                  const V shift = affine.shift != nullptr ? load_lanes<V>(affine.shift + c, lanes) : V::set(T(0));
                  return [=, pixel = args.y_pixel, activation = affine.activation](Index output, V sum) {
                    store_lanes<V>(out + output * pixel + c, lanes, activate(V::fma(scale, sum, shift), activation));
                  };
                });
}

template <class V>
inline void forward_row(const DepthwiseArgs<typename V::value>& args, Index oy) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  Window window{};
  window.x_down = s.dilation_h * s.width * args.x_pixel, window.x_across = s.dilation_w * args.x_pixel;
  window.weight_down = s.kernel_w * args.weight_row, window.weight_across = args.weight_row;
  const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.height);
  const Index y = oy * s.stride_h - s.pad_h + kh.begin * s.dilation_h - args.x_begin;
  window.rows = kh.end - kh.begin;
  for (Index ox = 0; ox < s.out_width; ++ox) {
    const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.width);
    const Index x = ox * s.stride_w - s.pad_w + kw.begin * s.dilation_w;
    window.cols = kw.end - kw.begin;
    const bool empty = window.rows == 0 || window.cols == 0;
    const T* in = empty ? args.x : args.x + (y * s.width + x) * args.x_pixel;
    const T* weight = empty ? args.weight : args.weight + (kh.begin * s.kernel_w + kw.begin) * args.weight_row;
    T* out = args.y + ((oy - args.y_begin) * s.out_width + ox) * args.y_pixel;
    each_window_sum<V>(in, weight, window, args.channels,
                       [&](Index c, int lanes, V acc) { finish_depthwise<V>(args.affine, out, c, lanes, acc); });
  }
}

template <class V>
void depthwise_forward(const DepthwiseArgs<typename V::value>& args) {
  const ConvShape& s = args.shape;
  const Window3x3 window = window3x3(s, args.x_pixel);
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    if (window.usable) {
      forward_row3x3<V>(args, window, oy);
    } else {
      forward_row<V>(args, oy);
    }
    if (args.affine.mask == nullptr) continue;
    write_mask<V>(args.y + (oy - args.y_begin) * s.out_width * args.y_pixel, args.y_pixel, s.out_width, args.channels,
                  args.affine.activation, args.affine.mask + oy * s.out_width * args.affine.mask_row,
                  args.affine.mask_row);
  }
}

}  // namespace
}  // namespace sparsebp

// Depthwise convolution on a block of neighbouring channels, forward.
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

// Neighbouring outputs that share the loads of their weights. AVX2: 4 x 2 accumulators hide the FMA latency, and 8 FMA
// take 10 loads instead of 16.
template <class V>
constexpr int kRunPixels = V::tile_rows < 4 ? 2 : 4;

// The sums of kRunPixels outputs, `step` elements of x apart, for kPanel channels.
template <class V>
inline void window_run(V (&acc)[kRunPixels<V>][Tile<V>::kVectors], const typename V::value* x, Index step,
                       const typename V::value* weight, const Window& window) {
  using T = typename V::value;
  constexpr int kVectors = Tile<V>::kVectors;
  Tile<V>::template clear<kRunPixels<V>>(acc);
  for (Index h = 0; h < window.rows; ++h) {
    const T* xs = x + h * window.x_down;
    const T* ws = weight + h * window.weight_down;
    for (Index w = 0; w < window.cols; ++w, xs += window.x_across, ws += window.weight_across) {
      V taps[kVectors];
      for (int v = 0; v < kVectors; ++v) taps[v] = V::load(ws + v * V::width);
      for (int p = 0; p < kRunPixels<V>; ++p) {
        for (int v = 0; v < kVectors; ++v) {
          acc[p][v] = V::fma(V::load(xs + p * step + v * V::width), taps[v], acc[p][v]);
        }
      }
    }
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
void depthwise_forward(const DepthwiseArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  const Affine<T>& affine = args.affine;
  const Index whole = args.channels / kPanel * kPanel;
  // Outputs for which every tap of a kernel row exists.
  const Index inner = valid_outputs(0, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).begin;
  const Index inner_end = valid_outputs(s.kernel_w - 1, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).end;
  Window window{};
  window.x_down = s.dilation_h * s.width * args.x_pixel, window.x_across = s.dilation_w * args.x_pixel;
  window.weight_down = s.kernel_w * args.weight_row, window.weight_across = args.weight_row;
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.height);
    const Index y = oy * s.stride_h - s.pad_h + kh.begin * s.dilation_h;
    window.rows = kh.end - kh.begin;
    for (Index ox = 0; ox < s.out_width;) {
      const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.width);
      const Index x = ox * s.stride_w - s.pad_w + kw.begin * s.dilation_w;
      window.cols = kw.end - kw.begin;
      const bool empty = window.rows == 0 || window.cols == 0;
      const bool run = !empty && ox >= inner && ox + kRunPixels<V> <= inner_end;
      const T* in = empty ? args.x : args.x + (y * s.width + x) * args.x_pixel;
      const T* weight = empty ? args.weight : args.weight + (kh.begin * s.kernel_w + kw.begin) * args.weight_row;
      const Index pixel = oy * s.out_width + ox;
      T* out = args.y + pixel * args.y_pixel;
      const Index pixels = run ? kRunPixels<V> : 1, step = s.stride_w * args.x_pixel;
      for (Index c = 0; run && c < whole; c += kPanel) {
        V acc[kRunPixels<V>][Tile<V>::kVectors];
        window_run<V>(acc, in + c, step, weight + c, window);
        for (int p = 0; p < kRunPixels<V>; ++p) {
          for (int v = 0; v < Tile<V>::kVectors; ++v) {
            finish_depthwise<V>(affine, out + p * args.y_pixel, c + v * V::width, V::width, acc[p][v]);
          }
        }
      }
      const Index first = run ? whole : 0;
      for (Index p = 0; p < pixels; ++p, out += args.y_pixel) {
        each_window_sum<V>(in + p * step + first, weight + first, window, args.channels - first,
                           [&](Index c, int lanes, V acc) { finish_depthwise<V>(affine, out, first + c, lanes, acc); });
        if (affine.mask != nullptr) {
          write_mask<V>(out, args.channels, affine.activation, affine.mask + (pixel + p) * affine.mask_row);
        }
      }
      ox += pixels;
    }
  }
}

}  // namespace
}  // namespace sparsebp

// Depthwise convolution on a block of neighbouring channels: input gradient.
//
// As in depthwise.h, vectorised over channels; per element the sum runs over kernel row, then kernel column, of the
// window turned around where the stride is 1.
#pragma once

#include "kernels/depthwise.h"

namespace sparsebp {
namespace {

// For one input coordinate: which taps reach it, and from which outputs. Tap begin + i * step comes from output
// out - i * out_step.
struct Reach {
  Index begin, step, out, out_step, count;
};

// Tap t reaches output (in + pad - t * dilation) / stride where that is a whole number inside [0, outputs).
inline Reach reaching_taps(Index in, Index kernel, Index stride, Index pad, Index dilation, Index outputs) {
  const Index first = in + pad;
  if (dilation == 1) {
    // A division a pixel would cost more than the pixel; strides of 1 and 2 need none.
    const Index out = stride == 1 ? first : stride == 2 ? first >> 1 : first / stride;
    Reach reach{first - out * stride, stride, out, 1, 0};
    if (out >= outputs) {
      const Index skip = out - outputs + 1;
      reach.begin += skip * stride;
      reach.out -= skip;
    }
    for (Index t = reach.begin; t < kernel && reach.out - reach.count >= 0; t += stride) ++reach.count;
    return reach;
  }
  Reach reach{0, 1, 0, 0, 0};
  Index last = -1;
  for (Index t = 0; t < kernel && first - t * dilation >= 0; ++t) {
    const Index at = first - t * dilation;
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
inline void finish_input_grad(const DepthwiseArgs<typename V::value>& args, typename V::value* out, Index c, int lanes,
                              V acc) {
  if (args.affine.scale != nullptr) acc = V::mul(acc, load_lanes<V>(args.affine.scale + c, lanes));
  if (args.accumulate) acc = V::add(load_lanes<V>(out + c, lanes), acc);
  store_lanes<V>(out + c, lanes, acc);
}

// With stride 1 the input gradient is a forward convolution of the output gradient with the window turned around.
inline ConvShape turned_around(const ConvShape& s) {
  ConvShape turned = s;
  turned.height = s.out_height, turned.width = s.out_width, turned.out_height = s.height, turned.out_width = s.width;
  turned.pad_h = s.dilation_h * (s.kernel_h - 1) - s.pad_h, turned.pad_w = s.dilation_w * (s.kernel_w - 1) - s.pad_w;
  return turned;
}

template <class V>
void input_grad3x3(const DepthwiseArgs<typename V::value>& args, const ConvShape& s, const Window3x3& window) {
  using T = typename V::value;
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    const Range kh = valid_taps(oy, 3, 1, s.pad_h, s.dilation_h, s.height);
    const Index y = oy - s.pad_h + s.dilation_h, x = s.dilation_w - s.pad_w;
    T* out = args.y + oy * s.out_width * args.y_pixel;
    outputs3x3<V>(window, kh, args.x + (y * s.width + x) * args.x_pixel, args.weight + 8 * args.weight_row,
                  -args.weight_row, args.channels, [&](Index c, int lanes) {
                    return [&args, out, c, lanes](Index output, V sum) {
                      finish_input_grad<V>(args, out + output * args.y_pixel, c, lanes, sum);
                    };
                  });
  }
}

// Stride 2, 3x3, padding 1: output column o reaches the input columns 2o - 1, 2o and 2o + 1. So even columns get one
// tap of one output, odd ones two of two; rows likewise: `kRows` rows of weights, each with a row of the gradient.
template <class V, int kRows, bool kFull>
inline void input_grad_halved_row(const DepthwiseArgs<typename V::value>& args,
                                  const typename V::value* const (&dz)[kRows], const Index (&taps)[kRows],
                                  typename V::value* out, Index c, int lanes) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  const auto load = [&](const T* p) { return kFull ? V::load(p) : V::load_some(p, lanes); };
  V weights[kRows][3];
  for (int r = 0; r < kRows; ++r) {
    for (int w = 0; w < 3; ++w) weights[r][w] = load(args.weight + (3 * taps[r] + w) * args.weight_row + c);
  }
  for (Index ox = 0; ox < s.out_width; ++ox) {
    const bool odd = 2 * ox + 1 < s.width, next = ox + 1 < s.out_width;
    V even_sum = V::set(T(0)), odd_sum = V::set(T(0));
    for (int r = 0; r < kRows; ++r) {
      const T* g = dz[r] + ox * args.x_pixel + c;
      const V here = load(g);
      even_sum = V::fma(here, weights[r][1], even_sum);
      if (next) odd_sum = V::fma(load(g + args.x_pixel), weights[r][0], odd_sum);
      odd_sum = V::fma(here, weights[r][2], odd_sum);
    }
    finish_input_grad<V>(args, out + 2 * ox * args.y_pixel, c, lanes, even_sum);
    if (odd) finish_input_grad<V>(args, out + (2 * ox + 1) * args.y_pixel, c, lanes, odd_sum);
  }
}

template <class V, int kRows>
inline void input_grad_halved_rows(const DepthwiseArgs<typename V::value>& args,
                                   const typename V::value* const (&dz)[kRows], const Index (&taps)[kRows],
                                   typename V::value* out) {
  Index c = 0;
  for (; c + V::width <= args.channels; c += V::width) {
    input_grad_halved_row<V, kRows, true>(args, dz, taps, out, c, V::width);
  }
  if (c < args.channels) {
    input_grad_halved_row<V, kRows, false>(args, dz, taps, out, c, static_cast<int>(args.channels - c));
  }
}

inline bool halves(const ConvShape& s) {
  return s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 2 && s.stride_w == 2 && s.pad_h == 1 && s.pad_w == 1 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.out_height == (s.height + 1) / 2 &&
         s.out_width == (s.width + 1) / 2;
}

template <class V>
void input_grad_halved(const DepthwiseArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  const Index row = s.out_width * args.x_pixel;
  for (Index iy = args.row_begin; iy < args.row_end; ++iy) {
    T* out = args.y + iy * s.width * args.y_pixel;
    const T* here = args.x + iy / 2 * row;
    if (iy % 2 == 0) {
      input_grad_halved_rows<V, 1>(args, {here}, {1}, out);
    } else if (iy / 2 + 1 < s.out_height) {
      input_grad_halved_rows<V, 2>(args, {here + row, here}, {0, 2}, out);
    } else {
      input_grad_halved_rows<V, 1>(args, {here}, {2}, out);
    }
  }
}

template <class V>
void depthwise_input_grad(const DepthwiseArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  if (s.stride_h == 1 && s.stride_w == 1) {
    const ConvShape turned = turned_around(s);
    const Window3x3 window = window3x3(turned, args.x_pixel);
    if (window.usable) return input_grad3x3<V>(args, turned, window);
  }
  if (halves(s)) return input_grad_halved<V>(args);
  for (Index iy = args.row_begin; iy < args.row_end; ++iy) {
    const Reach down = reaching_taps(iy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.out_height);
    for (Index ix = 0; ix < s.width; ++ix) {
      const Reach across = reaching_taps(ix, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.out_width);
      Window window{};
      window.rows = down.count, window.cols = across.count;
      window.x_down = -down.out_step * s.out_width * args.x_pixel, window.x_across = -across.out_step * args.x_pixel;
      window.weight_down = down.step * s.kernel_w * args.weight_row;
      window.weight_across = across.step * args.weight_row;
      const bool empty = window.rows == 0 || window.cols == 0;
      const T* in = empty ? args.x : args.x + (down.out * s.out_width + across.out) * args.x_pixel;
      const Index tap = down.begin * s.kernel_w + across.begin;
      const T* weight = empty ? args.weight : args.weight + tap * args.weight_row;
      T* out = args.y + (iy * s.width + ix) * args.y_pixel;
      each_window_sum<V>(in, weight, window, args.channels,
                         [&](Index c, int lanes, V acc) { finish_input_grad<V>(args, out, c, lanes, acc); });
    }
  }
}

}  // namespace
}  // namespace sparsebp

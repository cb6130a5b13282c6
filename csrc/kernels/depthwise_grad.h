// Depthwise convolution on a block of neighbouring channels: input gradient, and weight gradient of one channel.
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

template <class V>
void depthwise_input_grad(const DepthwiseArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  if (s.stride_h == 1 && s.stride_w == 1) {
    const ConvShape turned = turned_around(s);
    const Window3x3 window = window3x3(turned, args.x_pixel);
    if (window.usable) return input_grad3x3<V>(args, turned, window);
  }
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

// The 3x3 window of a depthwise convolution, a row of outputs at a time: what MobileNets are made of.
//
// One vector of channels, its nine weights in registers: an output costs nine FMA with one load each, and the sums of
// neighbouring outputs do not depend on each other, so the processor overlaps them. AVX2: nine weights, two sums,
// scale, shift and the bounds of ReLU6 are 15 of 16 registers. Rows and columns that a border cuts off are left out at
// compile time.
#pragma once

#include "kernels/mask_bits.h"
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

// How the windows of one geometry lie: where every output of a row has all three columns but perhaps the first and the
// last, which lack one, and likewise for rows. Anything else (kernel 3 with padding 2, say) is not `usable`.
struct Window3x3 {
  bool usable = false;
  bool cut_left = false, cut_right = false;  // does the first, the last output of a row lack a column
  Index outputs = 0, stride = 1;             // of a row
  Index down = 0, across = 0;                // elements from one window row, column to the next
};

inline Window3x3 window3x3(const ConvShape& s, Index x_pixel) {
  Window3x3 window;
  if (s.kernel_h != 3 || s.kernel_w != 3 || s.out_width < 1 || s.out_height < 1) return window;
  const Range left = valid_taps(0, 3, s.stride_w, s.pad_w, s.dilation_w, s.width);
  const Range right = valid_taps(s.out_width - 1, 3, s.stride_w, s.pad_w, s.dilation_w, s.width);
  const Range top = valid_taps(0, 3, s.stride_h, s.pad_h, s.dilation_h, s.height);
  const Range bottom = valid_taps(s.out_height - 1, 3, s.stride_h, s.pad_h, s.dilation_h, s.height);
  const Index inner = valid_outputs(0, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).begin;
  const Index inner_end = valid_outputs(2, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).end;
  const auto middle = [](Range taps) { return taps.begin <= 1 && taps.end >= 2; };
  window.usable =
      middle(left) && middle(right) && middle(top) && middle(bottom) && inner <= 1 && inner_end >= s.out_width - 1;
  window.cut_left = left.begin == 1, window.cut_right = right.end == 2;
  window.outputs = s.out_width, window.stride = s.stride_w * x_pixel;
  window.down = s.dilation_h * s.width * x_pixel, window.across = s.dilation_w * x_pixel;
  return window;
}

// One output: the window's middle is at `x`; what it lacks is left out. Its rows are summed apart and then added, so
// that at most three FMA wait for each other.
template <class V, bool kTop, bool kBottom, bool kLeft, bool kRight, bool kFull>
inline V sum3x3(const typename V::value* x, Index down, Index across, const V (&weights)[9], int lanes) {
  using T = typename V::value;
  const auto row_sum = [&](const T* row, int w) {
    const auto load = [&](const T* p) { return kFull ? V::load(p) : V::load_some(p, lanes); };
    V sum = V::mul(load(row), weights[w + 1]);
    if (kLeft) sum = V::fma(load(row - across), weights[w], sum);
    if (kRight) sum = V::fma(load(row + across), weights[w + 2], sum);
    return sum;
  };
  V sum = row_sum(x, 3);
  if (kTop) sum = V::add(row_sum(x - down, 0), sum);
  if (kBottom) sum = V::add(row_sum(x + down, 6), sum);
  return sum;
}

// A row of outputs for one vector of channels. `x` is at the middle of the first window; finish(output, sum).
template <class V, bool kTop, bool kBottom, bool kFull, class Finish>
inline void row3x3(const Window3x3& window, const typename V::value* x, const V (&weights)[9], int lanes,
                   const Finish& finish) {
  const Index down = window.down, across = window.across, stride = window.stride;
  Index output = 0;
  if (window.cut_left && window.cut_right && window.outputs == 1) {
    finish(0, sum3x3<V, kTop, kBottom, false, false, kFull>(x, down, across, weights, lanes));
    return;
  }
  if (window.cut_left) {
    finish(0, sum3x3<V, kTop, kBottom, false, true, kFull>(x, down, across, weights, lanes));
    ++output, x += stride;
  }
  const Index inner_end = window.cut_right ? window.outputs - 1 : window.outputs;
  for (; output < inner_end; ++output, x += stride) {
    finish(output, sum3x3<V, kTop, kBottom, true, true, kFull>(x, down, across, weights, lanes));
  }
  if (window.cut_right) finish(output, sum3x3<V, kTop, kBottom, true, false, kFull>(x, down, across, weights, lanes));
}

// The same for window rows [rows.begin, rows.end) of the three, for `channels` channels, vector by vector.
// `weights` is at the first of nine taps, `tap` elements apart (negative: the window is turned around).
// begin(c, lanes) gives the finish(output, sum) of the vector at channel c.
template <class V, bool kTop, bool kBottom, class Begin>
inline void channels3x3(const Window3x3& window, const typename V::value* x, const typename V::value* weights,
                        Index tap, Index channels, const Begin& begin) {
  V w[9];
  Index c = 0;
  for (; c + V::width <= channels; c += V::width) {
    for (int i = 0; i < 9; ++i) w[i] = V::load(weights + i * tap + c);
    row3x3<V, kTop, kBottom, true>(window, x + c, w, V::width, begin(c, V::width));
  }
  if (c < channels) {
    const int lanes = static_cast<int>(channels - c);
    for (int i = 0; i < 9; ++i) w[i] = V::load_some(weights + i * tap + c, lanes);
    row3x3<V, kTop, kBottom, false>(window, x + c, w, lanes, begin(c, lanes));
  }
}

template <class V, class Begin>
inline void outputs3x3(const Window3x3& window, Range rows, const typename V::value* x,
                       const typename V::value* weights, Index tap, Index channels, const Begin& begin) {
  const bool top = rows.begin == 0, bottom = rows.end == 3;
  if (top && bottom) return channels3x3<V, true, true>(window, x, weights, tap, channels, begin);
  if (bottom) return channels3x3<V, false, true>(window, x, weights, tap, channels, begin);
  if (top) return channels3x3<V, true, false>(window, x, weights, tap, channels, begin);
  channels3x3<V, false, false>(window, x, weights, tap, channels, begin);
}

}  // namespace
}  // namespace sparsebp

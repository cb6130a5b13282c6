// Depthwise convolution: weight gradient of one channel or of up to kPanel neighbours, some of its taps. Neighbours
// share vectors; numbers of one channel lie far apart, so that its gradient is plain arithmetic. Per tap the sum runs
// over rows of outputs, each summed first: fewer terms per running total, smaller rounding error.
#pragma once

#include "kernels/args.h"

namespace sparsebp {
namespace {

// A number of one channel, where a vector has those of neighbours.
template <class T>
struct Single {
  using value = T;
  T number;

  static inline Single set(T x) { return {x}; }
  static inline Single load(const T* p) { return {*p}; }
  inline void store_some(T* p, int) const { *p = number; }
  static inline Single add(Single a, Single b) { return {a.number + b.number}; }
  static inline Single fma(Single a, Single b, Single c) { return {a.number * b.number + c.number}; }
};

// Some of the channels that the arguments name, `count` from `first` on: as many as a vector has, if `kFull`.
template <class V, bool kFull>
struct Lanes {
  using T = typename V::value;
  Index first;
  int count;

  inline V load(const T* p) const {
    if constexpr (kFull) {
      return V::load(p + first);
    } else {
      return V::load_some(p + first, count);
    }
  }
  inline void store(T* p, V x) const { x.store_some(p + first, count); }
};

// Taps one after the other, for windows of any size.
template <class V, bool kFull>
inline void weight_grad_by_tap(const DepthwiseWeightGradArgs<typename V::value>& args, Lanes<V, kFull> lanes) {
  const ConvShape& s = args.shape;
  for (Index tap = args.tap_begin; tap < args.tap_end; ++tap) {
    const Index kh = tap / s.kernel_w, kw = tap % s.kernel_w;
    const Range rows = valid_outputs(kh, s.out_height, s.stride_h, s.pad_h, s.dilation_h, s.height);
    const Range cols = valid_outputs(kw, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width);
    V total = V::set(0);
    for (Index n = 0; n < args.images; ++n) {
      for (Index oy = rows.begin; oy < rows.end; ++oy) {
        const Index iy = oy * s.stride_h - s.pad_h + kh * s.dilation_h;
        const Index in = n * s.pixels() + iy * s.width - s.pad_w + kw * s.dilation_w;
        const Index out = n * s.out_pixels() + oy * s.out_width;
        V row = V::set(0);
        for (Index ox = cols.begin; ox < cols.end; ++ox) {
          row = V::fma(lanes.load(args.saved + (in + ox * s.stride_w) * args.saved_pixel),
                       lanes.load(args.dz + (out + ox) * args.dz_pixel), row);
        }
        total = V::add(total, row);
      }
    }
    lanes.store(args.grad + (tap - args.tap_begin) * args.channels, total);
  }
}

// The columns of a 3x3 window: outputs that each of them reaches, and those that all three reach.
struct WindowColumns {
  Range each[3], all;

  explicit WindowColumns(const ConvShape& s) {
    for (Index kw = 0; kw < 3; ++kw) {
      each[kw] = valid_outputs(kw, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width);
    }
    all = each[0];
    for (const Range& one : each) {
      if (one.begin > all.begin) all.begin = one.begin;
      if (one.end < all.end) all.end = one.end;
    }
    if (all.end < all.begin) all.end = all.begin;
  }
};

// What a row of outputs gives `kRows` rows of the window's taps: sums that do not wait for each other, and the gradient
// is read once. `rows` are the numbers of the pixels that output 0 and the first column meet.
template <class V, bool kFull, int kRows>
inline void add_window_rows(const DepthwiseWeightGradArgs<typename V::value>& args, Lanes<V, kFull> lanes,
                            const WindowColumns& columns, const Index (&rows)[kRows], const typename V::value* dz,
                            V* totals) {
  const ConvShape& s = args.shape;
  V sums[kRows][3];
  for (auto& row : sums) {
    for (V& sum : row) sum = V::set(0);
  }
  const auto x = [&](int r, Index w, Index ox) {
    return lanes.load(args.saved + (rows[r] + ox * s.stride_w + w * s.dilation_w) * args.saved_pixel);
  };
  for (Index ox = columns.all.begin; ox < columns.all.end; ++ox) {
    const V g = lanes.load(dz + ox * args.dz_pixel);
    for (int r = 0; r < kRows; ++r) {
      for (int w = 0; w < 3; ++w) sums[r][w] = V::fma(x(r, w, ox), g, sums[r][w]);
    }
  }
  for (int w = 0; w < 3; ++w) {
    for (Index ox = columns.each[w].begin; ox < columns.each[w].end; ++ox) {
      if (ox == columns.all.begin) ox = columns.all.end;
      if (ox >= columns.each[w].end) break;
      const V g = lanes.load(dz + ox * args.dz_pixel);
      for (int r = 0; r < kRows; ++r) sums[r][w] = V::fma(x(r, w, ox), g, sums[r][w]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int w = 0; w < 3; ++w) totals[3 * r + w] = V::add(totals[3 * r + w], sums[r][w]);
  }
}

// The nine taps of a 3x3 window at once.
template <class V, bool kFull>
inline void weight_grad3x3(const DepthwiseWeightGradArgs<typename V::value>& args, Lanes<V, kFull> lanes) {
  const ConvShape& s = args.shape;
  const WindowColumns columns(s);
  V totals[9];
  for (V& total : totals) total = V::set(0);
  for (Index n = 0; n < args.images; ++n) {
    for (Index oy = 0; oy < s.out_height; ++oy) {
      const Range kh = valid_taps(oy, 3, s.stride_h, s.pad_h, s.dilation_h, s.height);
      const auto* dz = args.dz + (n * s.out_pixels() + oy * s.out_width) * args.dz_pixel;
      const auto row = [&](Index h) {
        return n * s.pixels() + (oy * s.stride_h - s.pad_h + h * s.dilation_h) * s.width - s.pad_w;
      };
      if (kh.end - kh.begin == 3) {
        add_window_rows<V, kFull, 3>(args, lanes, columns, {row(0), row(1), row(2)}, dz, totals);
        continue;
      }
      for (Index h = kh.begin; h < kh.end; ++h) {
        add_window_rows<V, kFull, 1>(args, lanes, columns, {row(h)}, dz, totals + 3 * h);
      }
    }
  }
  for (Index tap = args.tap_begin; tap < args.tap_end; ++tap) {
    lanes.store(args.grad + (tap - args.tap_begin) * args.channels, totals[tap]);
  }
}

template <class V, bool kFull>
inline void weight_grad_of(const DepthwiseWeightGradArgs<typename V::value>& args, Lanes<V, kFull> lanes) {
  if (args.shape.kernel_h == 3 && args.shape.kernel_w == 3) return weight_grad3x3(args, lanes);
  weight_grad_by_tap(args, lanes);
}

template <class V>
void depthwise_weight_grad(const DepthwiseWeightGradArgs<typename V::value>& args) {
  if (args.channels == 1) return weight_grad_of(args, Lanes<Single<typename V::value>, true>{0, 1});
  Index c = 0;
  for (; c + V::width <= args.channels; c += V::width) weight_grad_of(args, Lanes<V, true>{c, V::width});
  if (c < args.channels) weight_grad_of(args, Lanes<V, false>{c, static_cast<int>(args.channels - c)});
}

}  // namespace
}  // namespace sparsebp

// General convolution, forward: any kernel, stride, padding, dilation, groups. Direct, no im2col.
//
// Output pixels whose window lies inside the row share a tile; pixels at the border go one by one with the taps that
// exist. Per element the sum runs over kernel row, kernel column, input channel, in this order.
#pragma once

#include "kernels/gemm.h"

namespace sparsebp {
namespace {

// `kRows` neighbouring output pixels of one output row, all with the taps [kw.begin, kw.end).
template <class V, int kRows, bool kFull>
inline void conv_tile(const ConvForwardArgs<typename V::value>& args, Index oy, Index ox, Range kh, Range kw, Index col,
                      Index cols) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  const Index ipg = s.in_per_group();
  SumLoop sum;
  sum.n1 = ipg, sum.n2 = kw.end - kw.begin, sum.n3 = kh.end - kh.begin;
  sum.a1 = 1, sum.a2 = s.dilation_w * s.in, sum.a3 = s.dilation_h * s.width * s.in;
  sum.b1 = s.out, sum.b2 = ipg * s.out, sum.b3 = s.kernel_w * ipg * s.out;
  const Index y0 = oy * s.stride_h - s.pad_h + kh.begin * s.dilation_h - args.x_begin;
  const Index x0 = ox * s.stride_w - s.pad_w + kw.begin * s.dilation_w;
  // With no tap at all nothing is read; the pointers stay at the image.
  const bool empty = sum.n2 == 0 || sum.n3 == 0;
  const T* first = empty ? args.x : args.x + (y0 * s.width + x0) * s.in + col / s.out_per_group() * ipg;
  const Columns<V, Tile<V>::kVectors, kFull> columns(cols);
  V acc[kRows][Tile<V>::kVectors];
  Tile<V>::template clear<kRows>(acc);
  const T* b = args.weight + (empty ? 0 : (kh.begin * s.kernel_w + kw.begin) * ipg * s.out) + col;
  Tile<V>::template sum<kRows, kFull>(acc, first, empty ? 0 : s.stride_w * s.in, b, sum, columns);
  const Index pixel = oy * s.out_width + ox;
  T* y = args.y + (pixel - args.y_begin * s.out_width) * s.out + col;
  finish_tile(acc, y, s.out, pixel, col, cols, columns, Store::affine, args.affine);
}

// The tile of `rows` <= kRows pixels.
template <class V, int kRows, bool kFull>
inline void conv_tile_of(const ConvForwardArgs<typename V::value>& args, Index oy, Index ox, Index rows, Range kh,
                         Range kw, Index col, Index cols) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return conv_tile_of<V, kRows - 1, kFull>(args, oy, ox, rows, kh, kw, col, cols);
  }
  conv_tile<V, kRows, kFull>(args, oy, ox, kh, kw, col, cols);
}

template <class V, bool kFull>
inline void conv_row(const ConvForwardArgs<typename V::value>& args, Index oy, Index col, Index cols) {
  const ConvShape& s = args.shape;
  const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.height);
  // Outputs for which both the first and the last tap of a kernel row exist.
  Index begin = valid_outputs(0, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).begin;
  Index end = valid_outputs(s.kernel_w - 1, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).end;
  if (end < begin) begin = end = s.out_width;
  const Range all{0, s.kernel_w};
  const auto border = [&](Index ox) {
    const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.width);
    conv_tile<V, 1, kFull>(args, oy, ox, kh, kw, col, cols);
  };
  Index ox = 0;
  for (; ox < begin; ++ox) border(ox);
  for (Index tiles = (end - ox + V::tile_rows - 1) / V::tile_rows; tiles > 0; --tiles) {  // as equal as can be
    const Index rows = (end - ox + tiles - 1) / tiles;
    conv_tile_of<V, V::tile_rows, kFull>(args, oy, ox, rows, kh, all, col, cols);
    ox += rows;
  }
  for (; ox < s.out_width; ++ox) border(ox);
}

template <class V>
void conv_forward(const ConvForwardArgs<typename V::value>& args) {
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    for (Index col = args.col_begin; col < args.col_end; col += kPanel) {
      if (args.col_end - col >= kPanel) {
        conv_row<V, true>(args, oy, col, kPanel);
      } else {
        conv_row<V, false>(args, oy, col, args.col_end - col);
      }
    }
  }
}

}  // namespace
}  // namespace sparsebp

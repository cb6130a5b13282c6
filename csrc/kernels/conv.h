// General convolution, forward: any kernel, stride, padding, dilation, groups. Direct, no im2col.
//
// Output pixels whose window lies inside the row are one product; pixels at the border go one by one with the taps that
// exist. Per element the sum runs over kernel row, kernel column, input channel, in this order.
#pragma once

#include "kernels/gemm.h"

namespace sparsebp {
namespace {

// `pixels` neighbouring output pixels of one output row, all with the taps kh and kw, as a product: a row of it is a
// pixel, and its sum runs over the taps and the input channels.
template <class V>
inline void conv_pixels(const ConvForwardArgs<typename V::value>& args, Index oy, Index ox, Index pixels, Range kh,
                        Range kw) {
  if (pixels == 0) return;
  using T = typename V::value;
  const ConvShape& s = args.shape;
  const Index ipg = s.in_per_group(), col = args.col_begin;
  GemmArgs<T> part{};
  SumLoop& sum = part.sum;
  sum.n1 = ipg, sum.n2 = kw.end - kw.begin, sum.n3 = kh.end - kh.begin;
  sum.a1 = 1, sum.a2 = s.dilation_w * s.in, sum.a3 = s.dilation_h * s.width * s.in;
  sum.b1 = s.out, sum.b2 = ipg * s.out, sum.b3 = s.kernel_w * ipg * s.out;
  const Index y0 = oy * s.stride_h - s.pad_h + kh.begin * s.dilation_h - args.x_begin;
  const Index x0 = ox * s.stride_w - s.pad_w + kw.begin * s.dilation_w;
  // With no tap at all nothing is read; the pointers stay at the image.
  const bool empty = sum.n2 == 0 || sum.n3 == 0;
  part.a = empty ? args.x : args.x + (y0 * s.width + x0) * s.in + col / s.out_per_group() * ipg;
  part.a_row = empty ? 0 : s.stride_w * s.in;
  part.b = args.weight + (empty ? 0 : (kh.begin * s.kernel_w + kw.begin) * ipg * s.out) + col;
  const Index pixel = oy * s.out_width + ox;
  part.c = args.y + (pixel - args.y_begin * s.out_width) * s.out + col, part.c_row = s.out;
  part.rows = pixels, part.cols = args.col_end - col;
  part.store = Store::affine, part.affine = args.affine;
  if (part.affine.scale != nullptr) part.affine.scale += col;
  if (part.affine.shift != nullptr) part.affine.shift += col;
  if (part.affine.residual != nullptr) part.affine.residual += pixel * part.affine.residual_row + col;
  if (part.affine.mask != nullptr) part.affine.mask += pixel * part.affine.mask_row + col / 8;
  gemm<V>(part);
}

template <class V>
void conv_forward(const ConvForwardArgs<typename V::value>& args) {
  const ConvShape& s = args.shape;
  // Outputs for which both the first and the last tap of a kernel row exist.
  Index begin = valid_outputs(0, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).begin;
  Index end = valid_outputs(s.kernel_w - 1, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width).end;
  if (end < begin) begin = end = s.out_width;
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.height);
    const auto border = [&](Index ox) {
      conv_pixels<V>(args, oy, ox, 1, kh, valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.width));
    };
    for (Index ox = 0; ox < begin; ++ox) border(ox);
    conv_pixels<V>(args, oy, begin, end - begin, kh, {0, s.kernel_w});
    for (Index ox = end; ox < s.out_width; ++ox) border(ox);
  }
}

}  // namespace
}  // namespace sparsebp

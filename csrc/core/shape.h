// The geometry of a 2-D convolution on NHWC activations. Every other header counts in these words.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace sparsebp {

using Index = std::int64_t;

// This header is compiled into files with ISA flags. A shared inline function that was not inlined there could end up,
// in its AVX form, serving every caller; so these are always inlined and leave no symbol.
#define SPARSEBP_INLINE [[gnu::always_inline]] inline SPARSEBP_HOST_DEVICE

// Weights are HWIO: [kernel_h][kernel_w][in / groups][out], output channels contiguous.
// `pad_h` and `pad_w` are the zeros above and left; those below and right follow from the output size.
struct ConvShape {
  Index in = 1, out = 1, groups = 1;
  Index height = 1, width = 1, out_height = 1, out_width = 1;
  Index kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  Index pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;

  SPARSEBP_INLINE Index taps() const { return kernel_h * kernel_w; }
  SPARSEBP_INLINE Index in_per_group() const { return in / groups; }
  SPARSEBP_INLINE Index out_per_group() const { return out / groups; }
  SPARSEBP_INLINE Index pixels() const { return height * width; }
  SPARSEBP_INLINE Index out_pixels() const { return out_height * out_width; }
  SPARSEBP_INLINE Index weights() const { return taps() * in_per_group() * out; }
  // Weights that read one input channel.
  SPARSEBP_INLINE Index weights_per_channel() const { return taps() * out_per_group(); }
  SPARSEBP_INLINE bool depthwise() const { return groups > 1 && groups == in && in == out; }
  // One tap, no border: rows of pixels can be treated as one matrix.
  SPARSEBP_INLINE bool pointwise() const {
    return taps() == 1 && stride_h == 1 && stride_w == 1 && pad_h == 0 && pad_w == 0 && out_height == height &&
           out_width == width;
  }
};

struct Range {
  Index begin, end;
};

// The kernel taps t in [0, kernel) whose input `out * stride - pad + t * dilation` lies inside [0, size).
SPARSEBP_INLINE Range valid_taps(Index out, Index kernel, Index stride, Index pad, Index dilation, Index size) {
  const Index first = out * stride - pad;
  Index begin = first < 0 ? (-first + dilation - 1) / dilation : 0;
  Index end = first < size ? (size - 1 - first) / dilation + 1 : 0;
  if (end > kernel) end = kernel;
  if (begin > end) begin = end;
  return {begin, end};
}

// The taps of a pooling's window that lie in the image or in the padding around it. A last window may reach further.
SPARSEBP_INLINE Index padded_taps(const ConvShape& s, Index oy, Index ox) {
  const Index down = s.height + s.pad_h - (oy * s.stride_h - s.pad_h);
  const Index across = s.width + s.pad_w - (ox * s.stride_w - s.pad_w);
  return (down < s.kernel_h ? down : s.kernel_h) * (across < s.kernel_w ? across : s.kernel_w);
}

// The outputs o in [0, outputs) for which tap `tap` lies inside [0, size).
SPARSEBP_INLINE Range valid_outputs(Index tap, Index outputs, Index stride, Index pad, Index dilation, Index size) {
  const Index shift = pad - tap * dilation;  // input = out * stride - shift
  Index begin = shift > 0 ? (shift + stride - 1) / stride : 0;
  const Index last = size - 1 + shift;
  Index end = last >= 0 ? last / stride + 1 : 0;
  if (end > outputs) end = outputs;
  if (begin > end) begin = end;
  return {begin, end};
}

// The pixels of an input and of an output that one tap of a convolution brings together: pair (y, x) has the input
// pixel (in_y + y * in_step_h, in_x + x * in_step_w), and the output's likewise.
struct TapPairs {
  Index rows, columns;
  Index in_y, in_x, in_step_h, in_step_w;
  Index out_y, out_x, out_step_h, out_step_w;
};

SPARSEBP_INLINE TapPairs tap_pairs(const ConvShape& s, Index tap) {
  const Index kh = tap / s.kernel_w, kw = tap % s.kernel_w;
  const Range oy = valid_outputs(kh, s.out_height, s.stride_h, s.pad_h, s.dilation_h, s.height);
  const Range ox = valid_outputs(kw, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width);
  return {oy.end - oy.begin,
          ox.end - ox.begin,
          oy.begin * s.stride_h - s.pad_h + kh * s.dilation_h,
          ox.begin * s.stride_w - s.pad_w + kw * s.dilation_w,
          s.stride_h,
          s.stride_w,
          oy.begin,
          ox.begin,
          1,
          1};
}

// The same of a transposed convolution, where each input pixel has a window of output pixels.
SPARSEBP_INLINE TapPairs transposed_pairs(const ConvShape& s, Index tap) {
  const Index kh = tap / s.kernel_w, kw = tap % s.kernel_w;
  const Range iy = valid_outputs(kh, s.height, s.stride_h, s.pad_h, s.dilation_h, s.out_height);
  const Range ix = valid_outputs(kw, s.width, s.stride_w, s.pad_w, s.dilation_w, s.out_width);
  return {iy.end - iy.begin,
          ix.end - ix.begin,
          iy.begin,
          ix.begin,
          1,
          1,
          iy.begin * s.stride_h - s.pad_h + kh * s.dilation_h,
          ix.begin * s.stride_w - s.pad_w + kw * s.dilation_w,
          s.stride_h,
          s.stride_w};
}

// The convolution whose input gradient a transposed convolution computes going forward: it reads what that one makes.
SPARSEBP_INLINE ConvShape mirrored(const ConvShape& s) {
  ConvShape other = s;
  other.in = s.out, other.out = s.in;
  other.height = s.out_height, other.width = s.out_width;
  other.out_height = s.height, other.out_width = s.width;
  return other;
}

// The input rows that the windows of output rows `out` reach.
SPARSEBP_INLINE Range reached_rows(const ConvShape& s, Range out) {
  if (out.begin >= out.end) return {0, 0};
  Index begin = out.begin * s.stride_h - s.pad_h;
  Index end = (out.end - 1) * s.stride_h - s.pad_h + s.dilation_h * (s.kernel_h - 1) + 1;
  begin = begin < 0 ? 0 : begin > s.height ? s.height : begin;
  end = end < begin ? begin : end > s.height ? s.height : end;
  return {begin, end};
}

}  // namespace sparsebp

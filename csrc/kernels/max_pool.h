// The largest number of each window of one image, NHWC, and where in the window it was.
#pragma once

#include "kernels/args.h"

namespace sparsebp {
namespace {

// Output pixel (oy, ox): y and the tap of each channel. Of equal numbers the first counts, and a NaN before all, as in
// torch. The taps of the channels that share a byte are written at once.
template <class T>
inline void max_pool_pixel(const MaxPoolArgs<T>& args, Index oy, Index ox, Range kh, Range kw) {
  const ConvShape& s = args.shape;
  const T* corner = args.x + ((oy * s.stride_h - s.pad_h - args.x_begin) * s.width + ox * s.stride_w - s.pad_w) * s.in;
  T* y = args.y + ((oy - args.y_begin) * s.out_width + ox) * s.in;
  constexpr Index kRun = 64;
  for (Index c = 0; c < s.in; c += kRun) {
    const Index count = s.in - c < kRun ? s.in - c : kRun;
    T most[kRun];
    std::uint8_t taps[kRun];
    for (Index h = kh.begin; h < kh.end; ++h) {
      for (Index w = kw.begin; w < kw.end; ++w) {
        const T* x = corner + (h * s.dilation_h * s.width + w * s.dilation_w) * s.in + c;
        const auto tap = static_cast<std::uint8_t>(h * s.kernel_w + w);
        const bool first = h == kh.begin && w == kw.begin;
        for (Index i = 0; i < count; ++i) {
          const bool larger = first || x[i] > most[i] || x[i] != x[i];
          most[i] = larger ? x[i] : most[i];
          taps[i] = larger ? tap : taps[i];
        }
      }
    }
    for (Index i = 0; i < count; ++i) y[c + i] = most[i];
    if (args.taps == nullptr) continue;
    const int share = 8 / args.bits;  // channels of a byte
    std::uint8_t* out = args.taps + (oy * s.out_width + ox) * ((s.in + share - 1) / share) + c / share;
    for (Index i = 0; i < count; i += share) {
      unsigned byte = 0;
      for (int j = 0; j < share && i + j < count; ++j) byte |= static_cast<unsigned>(taps[i + j]) << (j * args.bits);
      *out++ = static_cast<std::uint8_t>(byte);
    }
  }
}

template <class V>
void max_pool_forward(const MaxPoolArgs<typename V::value>& args) {
  const ConvShape& s = args.shape;
  for (Index oy = args.row_begin; oy < args.row_end; ++oy) {
    const Range kh = valid_taps(oy, s.kernel_h, s.stride_h, s.pad_h, s.dilation_h, s.height);
    for (Index ox = 0; ox < s.out_width; ++ox) {
      const Range kw = valid_taps(ox, s.kernel_w, s.stride_w, s.pad_w, s.dilation_w, s.width);
      max_pool_pixel(args, oy, ox, kh, kw);
    }
  }
}

// Windows may overlap, so y is cleared first unless it accumulates.
template <class V>
void max_pool_backward(const MaxPoolArgs<typename V::value>& args) {
  using T = typename V::value;
  const ConvShape& s = args.shape;
  if (!args.accumulate) {
    for (Index i = 0; i < s.pixels() * s.in; ++i) args.y[i] = T(0);
  }
  const int share = 8 / args.bits;
  const unsigned mask = (1u << args.bits) - 1;
  for (Index oy = 0; oy < s.out_height; ++oy) {
    for (Index ox = 0; ox < s.out_width; ++ox) {
      const Index pixel = oy * s.out_width + ox;
      const std::uint8_t* taps = args.taps + pixel * ((s.in + share - 1) / share);
      T* corner = args.y + ((oy * s.stride_h - s.pad_h) * s.width + ox * s.stride_w - s.pad_w) * s.in;
      for (Index c = 0; c < s.in; ++c) {
        const Index tap = taps[c / share] >> (c % share * args.bits) & mask;
        const Index down = tap / s.kernel_w * s.dilation_h, across = tap % s.kernel_w * s.dilation_w;
        corner[(down * s.width + across) * s.in + c] += args.x[pixel * s.in + c];
      }
    }
  }
}

}  // namespace
}  // namespace sparsebp

// An image in 8 bits: the 256 levels between the least and the greatest number of each channel.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/shape.h"

namespace sparsebp {

constexpr int kMostLevel = 255;

// x is [pixels][channels], and so are the levels; `least` and `step` are a channel's. What is no number becomes the
// least one.
template <class T>
void to_levels(const T* x, Index pixels, Index channels, std::uint8_t* levels, T* least, T* step) {
  std::copy_n(x, channels, least);
  std::copy_n(x, channels, step);  // the greatest number so far
  for (Index m = 1; m < pixels; ++m) {
    for (Index c = 0; c < channels; ++c) {
      const T value = x[m * channels + c];
      least[c] = value < least[c] ? value : least[c];
      step[c] = value > step[c] ? value : step[c];
    }
  }
  for (Index c = 0; c < channels; ++c) step[c] = (step[c] - least[c]) / kMostLevel;
  for (Index m = 0; m < pixels; ++m) {
    for (Index c = 0; c < channels; ++c) {
      const T level = (x[m * channels + c] - least[c]) / step[c];  // none where all numbers are the same
      levels[m * channels + c] = static_cast<std::uint8_t>(level > 0 ? std::min(level, T(kMostLevel)) + T(0.5) : T(0));
    }
  }
}

// The numbers of `count` channels of so many pixels, from the first one's level on; out is [pixels][out_pixel].
template <class T>
void from_levels(const std::uint8_t* levels, Index pixel, const T* least, const T* step, Index pixels, Index count,
                 T* out, Index out_pixel) {
  for (Index m = 0; m < pixels; ++m) {
    for (Index c = 0; c < count; ++c)
      out[m * out_pixel + c] = least[c] + step[c] * static_cast<T>(levels[m * pixel + c]);
  }
}

}  // namespace sparsebp

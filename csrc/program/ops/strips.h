// How an inverted residual makes its forward pass: strips of rows of one image, or several small images whole, so
// that the expanded rows of a strip stay in the second-level cache between expansion, filter and projection.
#pragma once

#include <algorithm>

#include "program/context.h"

namespace sparsebp {

// Bytes of expanded rows held at once, if one window of rows does not need more: a common second-level cache.
constexpr Index kStripBytes = 256 * 1024;

struct Strip {
  Index first_image, images;
  Range out;    // output rows, of each image
  Range held;   // input rows that their windows reach, and those since the strip before
  Index old;    // how many of the held rows the strip before had already
  Index shift;  // where among its rows the first of them was
};

class Strips {
 public:
  Strips() = default;

  // `window`: the depthwise convolution of the block, of which `channels` are expanded at once: if that is all, rows
  // that two strips reach are expanded once. `rows`: of a strip, 0 for what fits a cache. `factor`: see device.h;
  // beyond one, images stay whole.
  Strips(const ConvShape& window, Index channels, Index rows, Index element_bytes, Index factor = 1)
      : window_(window), keeps_(channels == window.in) {
    const Index held = kStripBytes * factor;
    const Index row = std::max<Index>(window.width * channels * element_bytes, 1);
    const Index image = row * window.height, reach = window.dilation_h * (window.kernel_h - 1) + 1;
    if (rows == 0) images_ = std::max<Index>(held / std::max<Index>(image, 1), 1);
    if (rows == 0 && factor == 1 && image > held) {
      rows = std::max<Index>((held / row - reach) / window.stride_h + 1, 1);
    }
    rows_ = window.out_height;
    if (rows > 0 && rows < window.out_height) {
      strips_ = div_up(window.out_height, rows);
      rows_ = div_up(window.out_height, strips_);
      strips_ = div_up(window.out_height, rows_);
    }
    for (Index i = 0; i < strips_; ++i) {
      const Strip strip = at(i, 1);
      held_rows_ = std::max(held_rows_, strip.held.end - strip.held.begin);
    }
  }

  Index count(Index images) const { return strips_ > 1 ? images * strips_ : div_up(images, images_); }

  Strip at(Index i, Index images) const {
    if (strips_ <= 1) return whole(i * images_, together(images - i * images_));
    const Index local = i % strips_;
    const Range out{std::min(local * rows_, window_.out_height), std::min((local + 1) * rows_, window_.out_height)};
    Strip strip = part(i / strips_, out, local == 0 ? 0 : rows_);
    if (!keeps_) strip.old = strip.shift = 0;
    return strip;
  }

  // Images of `images` that one strip has whole; zero where a strip has rows of one.
  Index together(Index images) const { return strips_ > 1 ? 0 : std::min(images_, images); }
  Strip whole(Index first, Index images) const {
    return {first, images, {0, window_.out_height}, {0, window_.height}, 0, 0};
  }

  // Output rows `out` of an image. `before`: how many rows the strip before it had, which left its expanded rows where
  // it held them; if zero, rows that output rows further up reach as well are where this strip holds them.
  Strip part(Index image, Range out, Index before) const {
    const Index begin = first_held(out.begin);
    const Index end = out.end == window_.out_height ? window_.height : reached(out.end);
    return {image,
            1,
            out,
            {begin, end},
            reached(out.begin) - begin,
            before == 0 ? 0 : begin - first_held(out.begin - before)};
  }

  // Most images, and most output rows of one image, for which there is room in `pixels` pixels, expanded and filtered;
  // without `expands` only what is filtered needs room.
  Index most_images(Index pixels, bool expands) const { return pixels / image_pixels(expands); }
  Index most_rows(Index pixels, bool expands) const {
    if (pixels >= image_pixels(expands)) return window_.out_height;
    const Index row = expands ? window_.width : 0, left = pixels - rows_besides() * row;
    return left < 0 ? 0 : std::min(left / (window_.stride_h * row + window_.out_width), window_.out_height);
  }
  // Pixels that such a strip holds expanded at most.
  Index held_pixels_of(Index rows) const {
    return std::min(rows * window_.stride_h + rows_besides(), window_.height) * window_.width;
  }

  // Most pixels of a strip in a pass of `images` images: expanded, and filtered.
  Index held_pixels(Index images) const {
    return (strips_ > 1 ? held_rows_ : std::min(images_, images) * window_.height) * window_.width;
  }
  Index out_pixels(Index images) const {
    return (strips_ > 1 ? rows_ : std::min(images_, images) * window_.out_height) * window_.out_width;
  }

 private:
  // Input rows that a part of an image may hold beside a stride for each output row.
  Index rows_besides() const {
    const Index window = window_.dilation_h * (window_.kernel_h - 1) + 1;
    return std::max<Index>(window - window_.stride_h, 0) + window_.height - reached(window_.out_height);
  }
  Index image_pixels(bool expands) const { return (expands ? window_.pixels() : 0) + window_.out_pixels(); }
  // The input row behind the last one that output rows below `out` reach.
  Index reached(Index out) const {
    if (out == 0) return 0;
    const Index last = (out - 1) * window_.stride_h - window_.pad_h + window_.dilation_h * (window_.kernel_h - 1);
    return std::clamp<Index>(last + 1, 0, window_.height);
  }
  // The first input row of the strip that begins with output row `out`.
  Index first_held(Index out) const {
    return std::min(reached(out), std::max<Index>(out * window_.stride_h - window_.pad_h, 0));
  }

  ConvShape window_;
  bool keeps_ = true;
  Index images_ = 1;  // of a strip of whole images
  Index strips_ = 1;  // of an image
  Index rows_ = 1;    // output rows of a strip
  Index held_rows_ = 0;
};

}  // namespace sparsebp

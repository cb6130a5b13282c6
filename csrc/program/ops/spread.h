// How the second input of a sum or a product lies over the first one.
#pragma once

#include "spec/program_spec.h"

namespace sparsebp {

inline bool same_sides(const ValueSpec& a, const ValueSpec& b) {
  return a.height == b.height && a.width == b.width && a.channels == b.channels;
}

// Where the second input's number for a place of the first one lies: a side of one is there for all.
struct Spread {
  Spread(const ValueSpec& first, const ValueSpec& second)
      : width(first.width),
        height(first.height),
        row(second.height > 1 ? second.width * second.channels : 0),
        pixel(second.width > 1 ? second.channels : 0),
        channel(second.channels > 1 ? 1 : 0),
        image(second.count()) {}

  // Of channel 0 of pixel `index`, counted over all images.
  Index at(Index index) const {
    const Index x = index % width, y = index / width % height, n = index / width / height;
    return n * image + y * row + x * pixel;
  }

  Index width, height, row, pixel, channel, image;
};

}  // namespace sparsebp

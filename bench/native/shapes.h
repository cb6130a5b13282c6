// The layers to time: a shape file of bench/shapes, scaled to an image size.
#pragma once

#include <string>
#include <vector>

#include "core/shape.h"

namespace sparsebp {

struct LayerShape {
  std::string name;  // of the first of `count` layers with this shape
  std::string kind;  // "conv", "depthwise" or "pointwise"
  ConvShape conv;
  int count = 1;

  // The pointwise convolutions of an inverted residual: one widens and has an activation, one narrows and has none.
  bool widens() const { return conv.out > conv.in; }
  bool activates() const { return kind != "pointwise" || widens(); }
};

// Does `name` match the glob `pattern`?
bool matches(const std::string& name, const std::string& pattern);

// The distinct layers of `file` whose name matches the glob `pattern`, for images of `size` pixels. Throws
// InvalidArgument for a file that cannot be read or understood, and if no layer matches.
std::vector<LayerShape> read_shapes(const std::string& file, Index size, const std::string& pattern);

// Pairs of an input and an output pixel that the convolution connects: multiply-adds per pair of channels. Taps on the
// padding are no work and do not count.
Index connections(const ConvShape& s);

// "96 > 576, 14x14", with kernel and stride where they are not 1.
std::string describe(const ConvShape& s);

}  // namespace sparsebp

#include "shapes.h"

#include <fnmatch.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <tuple>

#include "core/error.h"

namespace sparsebp {
namespace {

// The image size at which the heights and widths of a shape file hold.
constexpr Index kFileSize = 224;

// A stride of 2 halves and rounds up, so what a layer reads is the image over a power of two, rounded up.
Index scaled(Index side, Index size) { return (size * side + kFileSize - 1) / kFileSize; }

LayerShape parse(const std::string& line, Index size) {
  LayerShape shape;
  ConvShape& s = shape.conv;
  std::istringstream words(line);
  words >> shape.name >> shape.kind >> s.in >> s.out >> s.kernel_h >> s.stride_h >> s.pad_h >> s.groups >> s.height >>
      s.width;
  const std::string& kind = shape.kind;
  if (!words || (kind != "conv" && kind != "depthwise" && kind != "pointwise")) {
    throw InvalidArgument("--shapes: expected name, kind (conv, depthwise, pointwise) and eight numbers, got: " + line);
  }
  s.kernel_w = s.kernel_h, s.stride_w = s.stride_h, s.pad_w = s.pad_h;
  s.height = scaled(s.height, size), s.width = scaled(s.width, size);
  s.out_height = (s.height + 2 * s.pad_h - s.kernel_h) / s.stride_h + 1;
  s.out_width = (s.width + 2 * s.pad_w - s.kernel_w) / s.stride_w + 1;
  return shape;
}

bool same_shape(const LayerShape& a, const LayerShape& b) {
  const auto key = [](const LayerShape& x) {
    const ConvShape& s = x.conv;
    return std::make_tuple(x.kind, s.in, s.out, s.kernel_h, s.stride_h, s.pad_h, s.groups, s.height, s.width);
  };
  return key(a) == key(b);
}

}  // namespace

bool matches(const std::string& name, const std::string& pattern) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::vector<LayerShape> read_shapes(const std::string& file, Index size, const std::string& pattern) {
  std::ifstream in(file);
  if (!in) throw InvalidArgument("--shapes: cannot read " + file);
  std::vector<LayerShape> distinct;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    const LayerShape shape = parse(line, size);
    if (!matches(shape.name, pattern)) continue;
    const auto known = std::find_if(distinct.begin(), distinct.end(),
                                    [&shape](const LayerShape& other) { return same_shape(shape, other); });
    if (known == distinct.end()) {
      distinct.push_back(shape);
    } else {
      ++known->count;
    }
  }
  if (distinct.empty()) throw InvalidArgument("--layers: no layer in " + file + " matches '" + pattern + "'");
  return distinct;
}

Index connections(const ConvShape& s) {
  Index rows = 0, cols = 0;
  for (Index kh = 0; kh < s.kernel_h; ++kh) {
    const Range r = valid_outputs(kh, s.out_height, s.stride_h, s.pad_h, s.dilation_h, s.height);
    rows += r.end - r.begin;
  }
  for (Index kw = 0; kw < s.kernel_w; ++kw) {
    const Range r = valid_outputs(kw, s.out_width, s.stride_w, s.pad_w, s.dilation_w, s.width);
    cols += r.end - r.begin;
  }
  return rows * cols;
}

std::string describe(const ConvShape& s) {
  std::ostringstream text;
  text << s.in << " > " << s.out << ", " << s.height << 'x' << s.width;
  if (s.kernel_h > 1) text << ", " << s.kernel_h << 'x' << s.kernel_w;
  if (s.stride_h > 1) text << '/' << s.stride_h;
  return text.str();
}

}  // namespace sparsebp

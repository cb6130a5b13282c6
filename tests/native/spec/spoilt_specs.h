// Specifications that are valid, and how one is spoilt and refused.
#pragma once

#include <functional>
#include <limits>
#include <string>

#include "check.h"
#include "core/error.h"
#include "program_cases.h"

namespace sparsebp {

constexpr Index kMost = std::numeric_limits<Index>::max();

using Spoil = std::function<void(ProgramSpec&)>;

inline void check_refused(const ProgramSpec& valid, const Spoil& spoil, const std::string& words) {
  ProgramSpec spec = valid;
  spoil(spec);
  check::about(words.c_str());
  CHECK_THROWS(InvalidArgument, make_program(spec, false, ""), words);
}

inline ProgramSpec one_convolution(Index size, Index kernel, Index stride) {
  Builder b(Options(), {size, size, 4});
  b.spec.span_begin = 0;
  b.conv(0, b.layer(4, 6, size, kernel, stride, 1, Activation::relu, 2));
  return b.spec;
}

// Ops: 0 conv, 1 add of its input and output, 2 pool.
inline ProgramSpec residual() {
  Builder b(Options(), {6, 6, 4});
  b.spec.span_begin = 0;
  const int v = b.conv(0, b.layer(4, 4, 6, 3, 1, 1, Activation::relu, 2));
  b.op(OpKind::add, {v, 0}, {}, {6, 6, 4});
  b.op(OpKind::pool, {2}, {}, {3, 3, 4});
  ConvShape& w = b.last().window;
  w.in = w.out = 4, w.height = w.width = 6, w.out_height = w.out_width = 3;
  w.kernel_h = w.kernel_w = w.stride_h = w.stride_w = 2;
  return b.spec;
}

inline ProgramSpec one_block() {
  Builder b(Options(), {9, 9, 20});
  b.spec.span_begin = 0;
  b.block(0, 20, 6, 20, 9, 1, 5);
  return b.spec;
}

inline ProgramSpec one_head() {
  Builder b(Options(), {8, 8, 16});
  b.spec.span_begin = 0;
  b.op(OpKind::head, {0}, {b.layer(16, 32, 8, 1, 1, 1, Activation::relu6, 5)}, {1, 1, 32});
  return b.spec;
}

}  // namespace sparsebp

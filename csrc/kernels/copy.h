// Kernels that move numbers: gathering saved slices, packing transposed panels, folding a frozen batch norm.
#pragma once

#include "kernels/args.h"

namespace sparsebp {
namespace {

template <class V>
void gather(const GatherArgs<typename V::value>& args) {
  for (Index m = 0; m < args.pixels; ++m) {
    const auto* x = args.x + m * args.x_pixel;
    auto* out = args.out + m * args.out_pixel;
    if (args.channels == nullptr) {
      for (Index j = 0; j < args.count; ++j) out[j] = x[j];
    } else {
      for (Index j = 0; j < args.count; ++j) out[j] = x[args.channels[j]];
    }
  }
}

// Panel rows [first, end) of columns [col, end_col), one element at a time.
template <class T>
inline void pack_edge(const PackArgs<T>& args, Index first, Index end, Index col, Index end_col) {
  for (Index j = col; j < end_col; ++j) {
    for (Index k = first; k < end; ++k) {
      T value = 0;
      if (j < args.cols) value = args.source[j * args.source_row + k];
      args.panel[k * kPanel + j] = args.scale != nullptr ? value * args.scale[k] : value;
    }
  }
}

// Squares of V::width are transposed in registers; what is left over goes element by element.
template <class V>
void pack(const PackArgs<typename V::value>& args) {
  constexpr Index kSide = V::width;
  for (Index first = 0; first < args.rows; first += kSide) {
    const Index end = first + kSide < args.rows ? first + kSide : args.rows;
    Index col = 0;
    if (end - first == kSide) {
      for (; col + kSide <= args.cols; col += kSide) {
        V square[kSide];
        for (Index j = 0; j < kSide; ++j) square[j] = V::load(args.source + (col + j) * args.source_row + first);
        V::transpose(square);
        for (Index k = 0; k < kSide; ++k) {
          if (args.scale != nullptr) square[k] = V::mul(square[k], V::set(args.scale[first + k]));
          square[k].store(args.panel + (first + k) * kPanel + col);
        }
      }
    }
    pack_edge(args, first, end, col, kPanel);
  }
}

// Not std::sqrt: unoptimised, that is a shared function of which the linker may keep the AVX copy.
inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }

template <class V>
void fold(const FoldArgs<typename V::value>& args) {
  using T = typename V::value;
  for (Index c = 0; c < args.count; ++c) {
    T scale = 1, shift = args.bias != nullptr ? args.bias[c] : T(0);
    if (args.var != nullptr) {
      scale = T(1) / square_root(args.var[c] + static_cast<T>(args.eps));
      if (args.gamma != nullptr) scale *= args.gamma[c];
      shift = scale * (shift - args.mean[c]);
      if (args.beta != nullptr) shift += args.beta[c];
    }
    if (args.scale != nullptr) args.scale[c] = scale;
    if (args.shift != nullptr) args.shift[c] = shift;
  }
}

}  // namespace
}  // namespace sparsebp

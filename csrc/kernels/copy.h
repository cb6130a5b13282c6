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

// The source's rows are read in runs of 8 so that every cache line of it is used while it is there.
template <class V>
void pack(const PackArgs<typename V::value>& args) {
  using T = typename V::value;
  for (Index first = 0; first < args.rows; first += 8) {
    const Index end = first + 8 < args.rows ? first + 8 : args.rows;
    for (Index j = 0; j < args.cols; ++j) {
      const T* source = args.source + j * args.source_row;
      for (Index k = first; k < end; ++k) {
        args.panel[k * kPanel + j] = args.scale != nullptr ? source[k] * args.scale[k] : source[k];
      }
    }
    for (Index k = first; k < end; ++k) {
      for (Index j = args.cols; j < kPanel; ++j) args.panel[k * kPanel + j] = T(0);
    }
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

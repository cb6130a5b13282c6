// Kernels that move numbers: gathering saved slices, packing transposed panels, folding a frozen batch norm, looking
// for what is not finite.
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

// Panel rows [first, end), one element at a time.
template <class T>
inline void pack_edge(const PackArgs<T>& args, Index first, Index end) {
  for (Index j = 0; j < kPanel; ++j) {
    for (Index k = first; k < end; ++k) {
      T value = 0;
      if (j < args.cols) value = args.source[j * args.source_row + k];
      args.panel[k * kPanel + j] = args.scale != nullptr ? value * args.scale[k] : value;
    }
  }
}

// Squares of V::width are transposed in registers; what is left over of the rows goes element by element.
template <class V>
void pack(const PackArgs<typename V::value>& args) {
  using T = typename V::value;
  constexpr Index kSide = V::width;
  Index first = 0;
  for (; first + kSide <= args.rows; first += kSide) {
    for (Index col = 0; col < kPanel; col += kSide) {
      V square[kSide];
      for (Index j = 0; j < kSide; ++j) {
        square[j] = col + j < args.cols ? V::load(args.source + (col + j) * args.source_row + first) : V::set(T(0));
      }
      if (col < args.cols) V::transpose(square);
      for (Index k = 0; k < kSide; ++k) {
        if (args.scale != nullptr) square[k] = V::mul(square[k], V::set(args.scale[first + k]));
        square[k].store(args.panel + (first + k) * kPanel + col);
      }
    }
  }
  pack_edge(args, first, args.rows);
}

// Not std::sqrt: unoptimised, that is a shared function of which the linker may keep the AVX copy.
inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }

// Runs of channels through plain loops without a branch, which compilers vectorise.
template <class V>
void fold(const FoldArgs<typename V::value>& args) {
  using T = typename V::value;
  constexpr Index kRun = 64;
  T scale[kRun], shift[kRun];
  for (Index first = 0; first < args.count; first += kRun) {
    const Index count = args.count - first < kRun ? args.count - first : kRun;
    for (Index c = 0; c < count; ++c) {
      scale[c] = 1;
      shift[c] = args.bias != nullptr ? args.bias[first + c] : T(0);
    }
    if (args.var != nullptr) {
      const T eps = static_cast<T>(args.eps);
      for (Index c = 0; c < count; ++c) scale[c] = T(1) / square_root(args.var[first + c] + eps);
      if (args.gamma != nullptr) {
        for (Index c = 0; c < count; ++c) scale[c] *= args.gamma[first + c];
      }
      for (Index c = 0; c < count; ++c) shift[c] = scale[c] * (shift[c] - args.mean[first + c]);
      if (args.beta != nullptr) {
        for (Index c = 0; c < count; ++c) shift[c] += args.beta[first + c];
      }
    } else if (args.gamma != nullptr) {
      for (Index c = 0; c < count; ++c) scale[c] = args.gamma[first + c];
    }
    for (Index c = 0; c < count && args.scale != nullptr; ++c) args.scale[first + c] = scale[c];
    for (Index c = 0; c < count && args.shift != nullptr; ++c) args.shift[first + c] = shift[c];
  }
}

// Whether no number is a NaN or an infinity: those times zero are NaN, and stay so in a sum.
template <class V>
bool all_finite(const typename V::value* x, Index count) {
  using T = typename V::value;
  constexpr int kSums = 4;
  V sums[kSums];
  for (V& sum : sums) sum = V::set(T(0));
  const V zero = V::set(T(0));
  Index i = 0;
  for (; i + kSums * V::width <= count; i += kSums * V::width) {
    for (int s = 0; s < kSums; ++s) sums[s] = V::fma(V::load(x + i + s * V::width), zero, sums[s]);
  }
  for (; i < count; i += V::width) {
    const int lanes = static_cast<int>(count - i < V::width ? count - i : V::width);
    sums[0] = V::fma(V::load_some(x + i, lanes), zero, sums[0]);
  }
  T lanes[V::width];
  V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])).store(lanes);
  for (const T lane : lanes) {
    if (!(lane == T(0))) return false;
  }
  return true;
}

}  // namespace
}  // namespace sparsebp

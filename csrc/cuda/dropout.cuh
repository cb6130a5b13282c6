// Dropout: one bit of each unit that is dropped at once, a pure function of the step's key.
#pragma once

#include "core/random.h"
#include "cuda/elementwise.cuh"
#include "spec/program_spec.h"

namespace sparsebp::cuda {

// What is dropped at once.
struct Units {
  DropUnit unit;
  Index pixels, channels;  // of an image

  __device__ Index of(Index element) const {
    if (unit == DropUnit::element) return element;
    const auto [pixel, c] = divide(element, channels);
    const Index image = divide(pixel, pixels).quotient;
    return unit == DropUnit::image ? image : image * channels + c;
  }
};

struct DropoutArgs {
  const float* x;
  float* y;
  Index count;  // elements
  Units units;
  const std::uint64_t* key;  // of the step
  std::uint64_t op;
  double drop;
  float factor;
  bool drops;
  std::uint8_t* mask;  // null: not wanted
  Index unit_count;

  __device__ bool keeps(Index unit) const {
    return !drops || random_unit(mix64(*key ^ op), static_cast<std::uint64_t>(unit)) >= drop;
  }
};

[[maybe_unused]] static __global__ void dropout(DropoutArgs args) {
  await_inputs();
  const Index i = element();
  if (i >= args.count) return;
  args.y[i] = !args.keeps(args.units.of(i)) ? 0.0f : args.drops ? args.x[i] * args.factor : args.x[i];
}

// A thread takes the eight units of a byte.
[[maybe_unused]] static __global__ void dropout_mask(DropoutArgs args) {
  await_inputs();
  const Index first = element() * 8;
  if (first >= args.unit_count) return;
  unsigned bits = 0;
  for (Index unit = first; unit < first + 8 && unit < args.unit_count; ++unit) {
    bits |= static_cast<unsigned>(args.keeps(unit)) << (unit - first);
  }
  args.mask[first / 8] = static_cast<std::uint8_t>(bits);
}

struct DropoutGradArgs {
  const float* dy;
  float* dx;
  Index count;
  Units units;
  const std::uint8_t* mask;
  float factor;
  bool accumulate;
};

[[maybe_unused]] static __global__ void dropout_backward(DropoutGradArgs args) {
  await_inputs();
  const Index i = element();
  if (i >= args.count) return;
  const Index unit = args.units.of(i);
  const bool kept = (args.mask[unit / 8] >> (unit % 8) & 1) != 0;
  put(args.dx[i], kept ? args.dy[i] * args.factor : 0.0f, args.accumulate);
}

}  // namespace sparsebp::cuda

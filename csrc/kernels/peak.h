// As many fused multiply-adds as a core can do, for nothing but the count: what benchmarks measure others by.
#pragma once

#include "kernels/args.h"

namespace sparsebp {
namespace {

// `rounds` times twelve multiply-adds of a whole vector that do not wait for each other. Returns the operations done,
// two for each multiply-add of a lane. What is multiplied comes from `sink`, and the result goes there, so that no
// compiler leaves any out.
template <class V>
Index fma_burst(Index rounds, typename V::value* sink) {
  using T = typename V::value;
  constexpr int kSums = 12;
  V sums[kSums];
  for (int s = 0; s < kSums; ++s) sums[s] = V::set(T(s));
  const V factor = V::set(*sink);
  for (Index i = 0; i < rounds; ++i) {
    for (V& sum : sums) sum = V::fma(factor, sum, sum);  // ARM adds to a register, not from one
  }
  for (int s = 1; s < kSums; ++s) sums[0] = V::add(sums[0], sums[s]);
  T lanes[V::width];
  sums[0].store(lanes);
  *sink = lanes[0];
  return rounds * kSums * V::width * 2;
}

}  // namespace
}  // namespace sparsebp

// The columns of a tile, a row of which is `kVectors` vectors.
#pragma once

#include "kernels/args.h"

namespace sparsebp {
namespace {

// `kFull`: all of them exist. Otherwise only the first `count` do: which lanes these are is found out once, so that
// what runs over a tile has no question to ask, and its sums stay in registers.
template <class V, int kVectors, bool kFull>
struct Columns {
  using T = typename V::value;

  explicit Columns(Index) {}
  inline V load(const T* row, int v) const { return V::load(row + v * V::width); }
  inline void store(T* row, int v, V value) const { value.store(row + v * V::width); }
};

template <class V, int kVectors>
struct Columns<V, kVectors, false> {
  using T = typename V::value;
  typename V::Lanes lanes[kVectors];

  explicit Columns(Index count) {
    for (int v = 0; v < kVectors; ++v) {
      const Index left = count - v * V::width;
      lanes[v] = V::lanes(static_cast<int>(left < 0 ? 0 : left < V::width ? left : V::width));
    }
  }
  // Absent columns read as zero.
  inline V load(const T* row, int v) const { return V::load_lanes(row + v * V::width, lanes[v]); }
  inline void store(T* row, int v, V value) const { value.store_lanes(row + v * V::width, lanes[v]); }
};

}  // namespace
}  // namespace sparsebp

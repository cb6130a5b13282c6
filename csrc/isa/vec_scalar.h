// The portable vector: four numbers and plain loops. Also the only one for float64.
#pragma once

#include <cstdint>

namespace sparsebp {
namespace {

template <class T>
struct Plain {
  using value = T;
  static constexpr int width = 4;
  static constexpr bool masks_are_free = false;
  static constexpr int tile_rows = 4;
  T lane[width];

  template <class F>
  static inline Plain each(F f) {
    Plain out;
    for (int i = 0; i < width; ++i) out.lane[i] = f(i);
    return out;
  }
  static inline Plain set(T x) {
    return each([&](int) { return x; });
  }
  static inline Plain broadcast(const T* p) { return set(*p); }
  static inline Plain load(const T* p) {
    return each([&](int i) { return p[i]; });
  }
  static inline Plain load_some(const T* p, int count) {
    return each([&](int i) { return i < count ? p[i] : T(0); });
  }
  using Lanes = int;  // how many
  static inline Lanes lanes(int count) { return count; }
  static inline Plain load_lanes(const T* p, Lanes some) { return load_some(p, some); }
  inline void store(T* p) const {
    for (int i = 0; i < width; ++i) p[i] = lane[i];
  }
  inline void store_some(T* p, int count) const {
    for (int i = 0; i < count; ++i) p[i] = lane[i];
  }
  inline void store_lanes(T* p, Lanes some) const { store_some(p, some); }
  static inline Plain add(Plain a, Plain b) {
    return each([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static inline Plain mul(Plain a, Plain b) {
    return each([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  // Two roundings: without FMA hardware a single one would cost a library call per term.
  static inline Plain fma(Plain a, Plain b, Plain c) {
    return each([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static inline Plain max(Plain a, Plain b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? b.lane[i] : a.lane[i]; });
  }
  static inline Plain min(Plain a, Plain b) {
    return each([&](int i) { return b.lane[i] < a.lane[i] ? b.lane[i] : a.lane[i]; });
  }
  static inline void transpose(Plain (&rows)[width]) {
    for (int i = 0; i < width; ++i) {
      for (int j = 0; j < i; ++j) {
        const T upper = rows[j].lane[i];
        rows[j].lane[i] = rows[i].lane[j];
        rows[i].lane[j] = upper;
      }
    }
  }
  static inline std::uint8_t mask8(const T* y, bool capped) {
    unsigned bits = 0;
    for (int i = 0; i < 8; ++i) bits |= static_cast<unsigned>(y[i] > T(0) && (!capped || y[i] < T(6))) << i;
    return static_cast<std::uint8_t>(bits);
  }
  // Zero where bit c, c + 1, ... of the row of bits is not set; c is a multiple of the width.
  static inline Plain keep(Plain x, const std::uint8_t* bits, std::int64_t c) {
    return each([&](int i) { return (bits[c / 8] >> (c % 8 + i) & 1) != 0 ? x.lane[i] : T(0); });
  }
};

}  // namespace
}  // namespace sparsebp

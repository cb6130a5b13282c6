// Eight floats in a 256-bit register, with fused multiply-add.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace sparsebp {
namespace {

struct Avx2 {
  using value = float;
  static constexpr int width = 8;
  static constexpr bool masks_are_free = false;
  static constexpr int tile_rows = 6;
  __m256 v;

  // The first `count` lanes, as the sign bits that masked moves look at.
  using Lanes = __m256i;
  static inline Lanes lanes(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static inline Avx2 set(float x) { return {_mm256_set1_ps(x)}; }
  static inline Avx2 broadcast(const float* p) { return set(*p); }
  static inline Avx2 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static inline Avx2 load_lanes(const float* p, Lanes some) { return {_mm256_maskload_ps(p, some)}; }
  static inline Avx2 load_some(const float* p, int count) { return load_lanes(p, lanes(count)); }
  inline void store(float* p) const { _mm256_storeu_ps(p, v); }
  inline void store_lanes(float* p, Lanes some) const { _mm256_maskstore_ps(p, some, v); }
  inline void store_some(float* p, int count) const { store_lanes(p, lanes(count)); }
  static inline Avx2 add(Avx2 a, Avx2 b) { return {_mm256_add_ps(a.v, b.v)}; }
  static inline Avx2 mul(Avx2 a, Avx2 b) { return {_mm256_mul_ps(a.v, b.v)}; }
  static inline Avx2 fma(Avx2 a, Avx2 b, Avx2 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  // The instructions return their second operand where either is a NaN: this way a NaN in `a` stays one.
  static inline Avx2 max(Avx2 a, Avx2 b) { return {_mm256_max_ps(b.v, a.v)}; }
  static inline Avx2 min(Avx2 a, Avx2 b) { return {_mm256_min_ps(b.v, a.v)}; }
  // Pairs of rows, then pairs of pairs within each half, then the halves: 24 shuffles for 64 elements.
  static inline void transpose(Avx2 (&rows)[width]) {
    __m256 pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i].v, rows[i + 1].v);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i].v, rows[i + 1].v);
    }
    for (int i = 0; i < 8; i += 4) {
      quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
      quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      rows[i].v = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
      rows[i + 4].v = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
    }
  }
  // A bit a lane: 0 < y, and y < 6 where the activation is capped.
  static inline unsigned passes(Avx2 y, bool capped) {
    __m256 pass = _mm256_cmp_ps(y.v, _mm256_setzero_ps(), _CMP_GT_OQ);
    if (capped) pass = _mm256_and_ps(pass, _mm256_cmp_ps(y.v, _mm256_set1_ps(6.0f), _CMP_LT_OQ));
    return static_cast<unsigned>(_mm256_movemask_ps(pass));
  }
  static inline std::uint8_t mask8(const float* y, bool capped) {
    return static_cast<std::uint8_t>(passes(load(y), capped));
  }
  // Zero where bit c, c + 1, ... of the row of bits is not set; c is a multiple of the width.
  static inline Avx2 keep(Avx2 x, const std::uint8_t* bits, std::int64_t c) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i on = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits[c / 8]), bit), bit);
    return {_mm256_and_ps(x.v, _mm256_castsi256_ps(on))};
  }
};

}  // namespace
}  // namespace sparsebp

// Sixteen floats in a 512-bit register: one panel row is one vector.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace sparsebp {
namespace {

struct Avx512 {
  using value = float;
  static constexpr int width = 16;
  static constexpr bool masks_are_free = true;  // of loads and stores: they cost no more than whole ones
  static constexpr int tile_rows = 14;          // 14 accumulators hide the FMA latency of 4 cycles on two ports
  static constexpr int pair_rows = 12;          // two vectors wide: 24 accumulators, 2 vectors of b and 1 broadcast
  __m512 v;

  using Lanes = __mmask16;
  static inline Lanes lanes(int count) { return static_cast<Lanes>((1u << count) - 1); }
  static inline Avx512 set(float x) { return {_mm512_set1_ps(x)}; }
  static inline Avx512 broadcast(const float* p) { return set(*p); }
  static inline Avx512 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static inline Avx512 load_lanes(const float* p, Lanes some) { return {_mm512_maskz_loadu_ps(some, p)}; }
  static inline Avx512 load_some(const float* p, int count) { return load_lanes(p, lanes(count)); }
  inline void store(float* p) const { _mm512_storeu_ps(p, v); }
  inline void store_lanes(float* p, Lanes some) const { _mm512_mask_storeu_ps(p, some, v); }
  inline void store_some(float* p, int count) const { store_lanes(p, lanes(count)); }
  static inline Avx512 add(Avx512 a, Avx512 b) { return {_mm512_add_ps(a.v, b.v)}; }
  static inline Avx512 mul(Avx512 a, Avx512 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static inline Avx512 fma(Avx512 a, Avx512 b, Avx512 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  // The instructions return their second operand where either is a NaN: this way a NaN in `a` stays one.
  static inline Avx512 max(Avx512 a, Avx512 b) { return {_mm512_max_ps(b.v, a.v)}; }
  static inline Avx512 min(Avx512 a, Avx512 b) { return {_mm512_min_ps(b.v, a.v)}; }
  static inline void transpose(Avx512 (&rows)[width]) {
    __m512 pairs[width], fours[width];
    for (int i = 0; i < width; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(rows[i].v, rows[i + 1].v);
      pairs[i + 1] = _mm512_unpackhi_ps(rows[i].v, rows[i + 1].v);
    }
    // Quarter q of fours[4 * g + c] has column 4 * q + c of rows 4 * g to 4 * g + 3.
    for (int g = 0; g < width; g += 4) {
      for (int half = 0; half < 2; ++half) {
        const __m512d above = _mm512_castps_pd(pairs[g + half]), below = _mm512_castps_pd(pairs[g + half + 2]);
        fours[g + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(above, below));
        fours[g + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(above, below));
      }
    }
    constexpr int kEven = 0x88, kOdd = 0xdd;  // quarters 0 and 2 of either, 1 and 3
    for (int c = 0; c < 4; ++c) {
      const __m512 even = _mm512_shuffle_f32x4(fours[c], fours[4 + c], kEven);
      const __m512 odd = _mm512_shuffle_f32x4(fours[c], fours[4 + c], kOdd);
      const __m512 even_below = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], kEven);
      const __m512 odd_below = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], kOdd);
      rows[c].v = _mm512_shuffle_f32x4(even, even_below, kEven);
      rows[4 + c].v = _mm512_shuffle_f32x4(odd, odd_below, kEven);
      rows[8 + c].v = _mm512_shuffle_f32x4(even, even_below, kOdd);
      rows[12 + c].v = _mm512_shuffle_f32x4(odd, odd_below, kOdd);
    }
  }
  // A bit a lane: 0 < y, and y < 6 where the activation is capped.
  static inline unsigned passes(Avx512 y, bool capped) {
    const __mmask16 above = _mm512_cmp_ps_mask(y.v, _mm512_setzero_ps(), _CMP_GT_OQ);
    return capped ? _mm512_mask_cmp_ps_mask(above, y.v, _mm512_set1_ps(6.0f), _CMP_LT_OQ) : above;
  }
  static inline std::uint8_t mask8(const float* y, bool capped) {
    return static_cast<std::uint8_t>(passes(load_some(y, 8), capped));
  }
  // Zero where bit c, c + 1, ... of the row of bits is not set; c is a multiple of the width.
  static inline Avx512 keep(Avx512 x, const std::uint8_t* bits, std::int64_t c) {
    return {_mm512_maskz_mov_ps(static_cast<__mmask16>(bits[c / 8] | bits[c / 8 + 1] << 8), x.v)};
  }
};

}  // namespace
}  // namespace sparsebp

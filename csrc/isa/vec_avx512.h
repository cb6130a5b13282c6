// Sixteen floats in a 512-bit register: one panel row is one vector.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace sparsebp {
namespace {

struct Avx512 {
  using value = float;
  static constexpr int width = 16;
  static constexpr int tile_rows = 14;  // 14 accumulators hide the FMA latency of 4 cycles on two ports
  __m512 v;

  static inline __mmask16 lanes(int count) { return static_cast<__mmask16>((1u << count) - 1); }
  static inline Avx512 set(float x) { return {_mm512_set1_ps(x)}; }
  static inline Avx512 broadcast(const float* p) { return set(*p); }
  static inline Avx512 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static inline Avx512 load_some(const float* p, int count) { return {_mm512_maskz_loadu_ps(lanes(count), p)}; }
  inline void store(float* p) const { _mm512_storeu_ps(p, v); }
  inline void store_some(float* p, int count) const { _mm512_mask_storeu_ps(p, lanes(count), v); }
  static inline Avx512 add(Avx512 a, Avx512 b) { return {_mm512_add_ps(a.v, b.v)}; }
  static inline Avx512 mul(Avx512 a, Avx512 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static inline Avx512 fma(Avx512 a, Avx512 b, Avx512 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  // The instructions return their second operand where either is a NaN: this way a NaN in `a` stays one.
  static inline Avx512 max(Avx512 a, Avx512 b) { return {_mm512_max_ps(b.v, a.v)}; }
  static inline Avx512 min(Avx512 a, Avx512 b) { return {_mm512_min_ps(b.v, a.v)}; }
  // By way of memory: a gather takes a column at once.
  static inline void transpose(Avx512 (&rows)[width]) {
    alignas(64) float square[width * width];
    for (int i = 0; i < width; ++i) rows[i].store(square + i * width);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i column = _mm512_slli_epi32(lane, 4);
    for (int i = 0; i < width; ++i) rows[i].v = _mm512_i32gather_ps(column, square + i, 4);
  }
  static inline std::uint8_t mask8(const float* y, bool capped) {
    const __m512 x = _mm512_maskz_loadu_ps(0xFF, y);
    __mmask16 pass = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    if (capped) pass = static_cast<__mmask16>(pass & _mm512_cmp_ps_mask(x, _mm512_set1_ps(6.0f), _CMP_LT_OQ));
    return static_cast<std::uint8_t>(pass);
  }
  // Zero where bit c, c + 1, ... of the row of bits is not set; c is a multiple of the width.
  static inline Avx512 keep(Avx512 x, const std::uint8_t* bits, std::int64_t c) {
    return {_mm512_maskz_mov_ps(static_cast<__mmask16>(bits[c / 8] | bits[c / 8 + 1] << 8), x.v)};
  }
};

}  // namespace
}  // namespace sparsebp

// Four floats in a 128-bit NEON register, on aarch64 and on armv7 with VFPv4 (fused multiply-add).
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace sparsebp {
namespace {

struct Neon {
  using value = float;
  static constexpr int width = 4;
  static constexpr bool masks_are_free = false;
  float32x4_t v;

#if defined(__aarch64__)
  static constexpr int tile_rows = 5;  // 20 accumulators, 4 vectors of b, 5 factors: 29 of 32 registers
  // A factor stays a scalar: the multiplication takes it from its lane, where a load that copies it to all lanes would
  // keep a unit busy that could multiply. The empty instruction hides from the compiler that both would do.
  static inline float broadcast(const float* p) {
    float x = *p;
    asm("" : "+w"(x));
    return x;
  }
  static inline Neon fma(float a, Neon b, Neon c) { return {vfmaq_n_f32(c.v, b.v, a)}; }
#else
  static constexpr int tile_rows = 2;  // 8 accumulators, 4 vectors of b, 1 factor: 13 of 16 registers
  static inline Neon broadcast(const float* p) { return {vld1q_dup_f32(p)}; }
#endif

  static inline Neon set(float x) { return {vdupq_n_f32(x)}; }
  static inline Neon load(const float* p) { return {vld1q_f32(p)}; }
  static inline Neon load_some(const float* p, int count) {
    float lanes[width] = {};
    for (int i = 0; i < count; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  using Lanes = int;  // how many
  static inline Lanes lanes(int count) { return count; }
  static inline Neon load_lanes(const float* p, Lanes some) { return some == width ? load(p) : load_some(p, some); }
  inline void store(float* p) const { vst1q_f32(p, v); }
  inline void store_some(float* p, int count) const {
    float lanes[width];
    store(lanes);
    for (int i = 0; i < count; ++i) p[i] = lanes[i];
  }
  inline void store_lanes(float* p, Lanes some) const { some == width ? store(p) : store_some(p, some); }
  static inline Neon add(Neon a, Neon b) { return {vaddq_f32(a.v, b.v)}; }
  static inline Neon mul(Neon a, Neon b) { return {vmulq_f32(a.v, b.v)}; }
  static inline Neon fma(Neon a, Neon b, Neon c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  static inline Neon max(Neon a, Neon b) { return {vmaxq_f32(a.v, b.v)}; }
  static inline Neon min(Neon a, Neon b) { return {vminq_f32(a.v, b.v)}; }
  static inline void transpose(Neon (&rows)[width]) {
    const float32x4x2_t low = vtrnq_f32(rows[0].v, rows[1].v), high = vtrnq_f32(rows[2].v, rows[3].v);
    for (int i = 0; i < 2; ++i) {
      rows[i].v = vcombine_f32(vget_low_f32(low.val[i]), vget_low_f32(high.val[i]));
      rows[i + 2].v = vcombine_f32(vget_high_f32(low.val[i]), vget_high_f32(high.val[i]));
    }
  }
  static inline std::uint8_t mask8(const float* y, bool capped) {
    unsigned bits = 0;
    for (int half = 0; half < 2; ++half) {
      const float32x4_t x = vld1q_f32(y + 4 * half);
      uint32x4_t pass = vcgtq_f32(x, vdupq_n_f32(0.0f));
      if (capped) pass = vandq_u32(pass, vcltq_f32(x, vdupq_n_f32(6.0f)));
      const std::uint32_t weights[4] = {1, 2, 4, 8};
      const uint32x4_t set = vandq_u32(pass, vld1q_u32(weights));
      const uint32x2_t pair = vadd_u32(vget_low_u32(set), vget_high_u32(set));
      bits |= (vget_lane_u32(pair, 0) + vget_lane_u32(pair, 1)) << (4 * half);
    }
    return static_cast<std::uint8_t>(bits);
  }
  // Zero where bit c, c + 1, ... of the row of bits is not set; c is a multiple of the width.
  static inline Neon keep(Neon x, const std::uint8_t* bits, std::int64_t c) {
    const std::uint32_t weights[4] = {1, 2, 4, 8};
    const uint32x4_t on =
        vtstq_u32(vdupq_n_u32(static_cast<std::uint32_t>(bits[c / 8]) >> (c % 8)), vld1q_u32(weights));
    return {vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.v), on))};
  }
};

}  // namespace
}  // namespace sparsebp

// e^x and what is made of it. In float by plain arithmetic alone, the same bits on every processor and with every C
// library; in double, which tests compare with, by the C library.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/shape.h"

namespace sparsebp {
namespace {

// Within 2 units in the last place, by Cody and Waite: x = n ln 2 + r with |r| <= ln 2 / 2, and the Taylor series of
// e^r. Below -87 it is the smallest of its values, above 88 the largest: no curve looks further.
SPARSEBP_INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, in the lowest bits
  const float shifted = x * 1.44269504f + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = ((bits + 127u) & 0xffu) << 23;  // the lowest eight bits of `shifted` are n
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}
inline double exponential(double x) { return __builtin_exp(x); }

template <class T>
SPARSEBP_INLINE T logistic(T x) {
  return T(1) / (T(1) + exponential(-x));
}

// Near zero, where the difference of two exponentials has no digits left, by its series.
SPARSEBP_INLINE float hyperbolic_tangent(float x) {
  const float square = x * x;
  const float series = x * (1 - square * (1.0f / 3 - square * (2.0f / 15 - square * (17.0f / 315))));
  const float whole = 1 - 2 / (exponential(2 * x) + 1);
  return square < 0.0625f ? series : whole;
}
inline double hyperbolic_tangent(double x) { return __builtin_tanh(x); }

SPARSEBP_INLINE float error_function(float x) { return __builtin_erff(x); }
inline double error_function(double x) { return __builtin_erf(x); }
SPARSEBP_INLINE float log_of_one_plus(float x) { return __builtin_log1pf(x); }
inline double log_of_one_plus(double x) { return __builtin_log1p(x); }

}  // namespace
}  // namespace sparsebp

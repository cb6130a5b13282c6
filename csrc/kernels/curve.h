// Activations that no layer applies, on their own: forward, and backward from a bit, from few bits, or from the input.
#pragma once

#include <type_traits>

#include "kernels/args.h"
#include "kernels/exponential.h"

namespace sparsebp {

// A derivative in few bits: equal steps, with 0 and 1 among them, where many of the derivatives are, and as many
// beyond both as the curve has need of.
struct Steps {
  int beyond, last;
  double size;
};

namespace {

constexpr double kInverseRootTwo = 0.70710678118654752440, kInverseRootTwoPi = 0.39894228040143267794;
constexpr double kRootTwoOverPi = 0.79788456080286535588, kCubic = 0.044715;

// What an activation is, and its derivative, at one place.
template <class T, Activation kKind>
struct Curve {
  T alpha, beta;

  SPARSEBP_INLINE T value(T x) const {
    if constexpr (kKind == Activation::relu) return x < 0 ? T(0) : x;
    if constexpr (kKind == Activation::relu6) return clipped(x);
    if constexpr (kKind == Activation::leaky_relu) return x > 0 ? x : alpha * x;
    if constexpr (kKind == Activation::clip) return x < beta ? beta : x > alpha ? alpha : x;
    if constexpr (kKind == Activation::hardsigmoid) return clipped(x + 3) / 6;
    if constexpr (kKind == Activation::hardswish) return x * clipped(x + 3) / 6;
    if constexpr (kKind == Activation::sigmoid) return logistic(x);
    if constexpr (kKind == Activation::silu) return x * logistic(x);
    if constexpr (kKind == Activation::gelu) return x * normal(x);
    if constexpr (kKind == Activation::gelu_tanh) return T(0.5) * x * (1 + hyperbolic_tangent(inner(x)));
    if constexpr (kKind == Activation::tanh) return hyperbolic_tangent(x);
    if constexpr (kKind == Activation::elu) return x > 0 ? x : alpha * (exponential(x) - 1);
    if constexpr (kKind == Activation::softplus) return plus(x);
    if constexpr (kKind == Activation::mish) return x * hyperbolic_tangent(plus(x));
    return x;
  }

  SPARSEBP_INLINE T slope(T x) const {
    if constexpr (kKind == Activation::hardswish) return x <= -3 ? T(0) : x < 3 ? x / 3 + T(0.5) : T(1);
    if constexpr (kKind == Activation::sigmoid) {
      const T s = logistic(x);
      return s * (1 - s);
    }
    if constexpr (kKind == Activation::silu) {
      const T s = logistic(x);
      return s * (1 + x * (1 - s));
    }
    if constexpr (kKind == Activation::gelu) return normal(x) + x * density(x);
    if constexpr (kKind == Activation::gelu_tanh) {
      const T t = hyperbolic_tangent(inner(x));
      const T rise = T(kRootTwoOverPi) * (1 + T(3 * kCubic) * x * x);
      return T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * rise;
    }
    if constexpr (kKind == Activation::tanh) {
      const T t = hyperbolic_tangent(x);
      return 1 - t * t;
    }
    if constexpr (kKind == Activation::elu) return x > 0 ? T(1) : alpha * exponential(x);
    if constexpr (kKind == Activation::softplus) return x > 20 ? T(1) : logistic(x);
    if constexpr (kKind == Activation::mish) {
      const T t = hyperbolic_tangent(plus(x));
      return t + x * (1 - t * t) * (x > 20 ? T(1) : logistic(x));
    }
    return factor(passes(x));
  }

  // Does the gradient pass as it is.
  SPARSEBP_INLINE bool passes(T x) const {
    if constexpr (kKind == Activation::relu6) return x > 0 && x < 6;
    if constexpr (kKind == Activation::clip) return x > beta && x < alpha;
    if constexpr (kKind == Activation::hardsigmoid) return x > -3 && x < 3;
    return x > 0;
  }
  // And what it is multiplied with where that is so, and where it is not.
  SPARSEBP_INLINE T factor(bool passes) const {
    if constexpr (kKind == Activation::leaky_relu) return passes ? T(1) : alpha;
    if constexpr (kKind == Activation::hardsigmoid) return passes ? T(1) / 6 : T(0);
    return passes ? T(1) : T(0);
  }

 private:
  SPARSEBP_INLINE static T clipped(T x) { return x < 0 ? T(0) : x > 6 ? T(6) : x; }
  SPARSEBP_INLINE static T normal(T x) { return T(0.5) * (1 + error_function(x * T(kInverseRootTwo))); }
  SPARSEBP_INLINE static T density(T x) { return exponential(x * x * T(-0.5)) * T(kInverseRootTwoPi); }
  SPARSEBP_INLINE static T inner(T x) { return T(kRootTwoOverPi) * (x + T(kCubic) * x * x * x); }
  SPARSEBP_INLINE static T plus(T x) { return x > 20 ? x : log_of_one_plus(exponential(x)); }
};

inline Steps steps_of(Activation activation, double alpha, int bits) {
  const int last = (1 << bits) - 1;
  // How far the derivative goes below 0 and above 1.
  double overshoot = 0, top = 1;
  if (activation == Activation::hardswish) overshoot = 0.5;
  if (activation == Activation::silu || activation == Activation::mish) overshoot = 0.1;
  if (activation == Activation::gelu || activation == Activation::gelu_tanh) overshoot = 0.13;
  if (activation == Activation::sigmoid) top = 0.25;
  if (activation == Activation::elu && alpha > 1) top = alpha;
  const int beyond = static_cast<int>(overshoot * last / (1 + 2 * overshoot));
  return {beyond, last, top / (last - 2 * beyond)};
}

// Eight numbers of few bits in as many bytes.
SPARSEBP_INLINE void pack_codes(const std::uint8_t (&codes)[8], int bits, std::uint8_t* out) {
  std::uint64_t all = 0;
  for (int i = 0; i < 8; ++i) all |= static_cast<std::uint64_t>(codes[i]) << (i * bits);
  for (int b = 0; b < bits; ++b) out[b] = static_cast<std::uint8_t>(all >> (8 * b));
}
SPARSEBP_INLINE void unpack_codes(const std::uint8_t* in, int bits, std::uint8_t (&codes)[8]) {
  std::uint64_t all = 0;
  for (int b = 0; b < bits; ++b) all |= static_cast<std::uint64_t>(in[b]) << (8 * b);
  for (int i = 0; i < 8; ++i) codes[i] = static_cast<std::uint8_t>(all >> (i * bits) & ((1u << bits) - 1));
}

template <class T, Activation kKind>
void keep_curve(const CurveArgs<T>& args, const Curve<T, kKind>& curve) {
  const int bits = is_curve(kKind) ? args.bits : 1;
  const Steps steps = steps_of(kKind, static_cast<double>(args.alpha), bits);
  const T per_step = static_cast<T>(1 / steps.size);
  for (Index i = 0; i < args.count; i += 8) {
    std::uint8_t codes[8] = {};
    for (Index j = 0; j < 8 && i + j < args.count; ++j) {
      const T x = args.x[i + j];
      if constexpr (is_curve(kKind)) {
        const T code = curve.slope(x) * per_step + (static_cast<T>(steps.beyond) + T(0.5));
        const T most = static_cast<T>(steps.last);
        codes[j] = static_cast<std::uint8_t>(code > 0 ? (code < most ? code : most) : T(0));
      } else {
        codes[j] = curve.passes(x);
      }
    }
    pack_codes(codes, bits, args.kept + i / 8 * bits);
  }
}

template <class T, Activation kKind>
void curve_forward_of(const CurveArgs<T>& args) {
  const Curve<T, kKind> curve{args.alpha, args.beta};
  if (args.kept != nullptr) keep_curve(args, curve);  // before y, which may be x
  for (Index i = 0; i < args.count; ++i) args.y[i] = curve.value(args.x[i]);
}

template <class T, Activation kKind>
void curve_backward_of(const CurveGradArgs<T>& args) {
  const Curve<T, kKind> curve{args.alpha, args.beta};
  const auto put = [&args](Index i, T g) { args.dx[i] = args.accumulate ? args.dx[i] + g : g; };
  if (args.kept == nullptr) {
    for (Index i = 0; i < args.count; ++i) put(i, args.dy[i] * curve.slope(args.x[i]));
    return;
  }
  const int bits = is_curve(kKind) ? args.bits : 1;
  const Steps steps = steps_of(kKind, static_cast<double>(args.alpha), bits);
  for (Index i = 0; i < args.count; i += 8) {
    std::uint8_t codes[8];
    unpack_codes(args.kept + i / 8 * bits, bits, codes);
    for (Index j = 0; j < 8 && i + j < args.count; ++j) {
      T factor;
      if constexpr (is_curve(kKind)) {
        factor = static_cast<T>((codes[j] - steps.beyond) * steps.size);
      } else {
        factor = curve.factor(codes[j] != 0);
      }
      put(i + j, args.dy[i + j] * factor);
    }
  }
}

// `run` with the activation as a constant.
template <class Run>
inline void with_curve(Activation activation, const Run& run) {
  const auto one = [&run](auto kind) { run(kind); };
  switch (activation) {
#define SPARSEBP_CURVE(name) \
  case Activation::name:     \
    return one(std::integral_constant<Activation, Activation::name>{});
    SPARSEBP_CURVE(relu)
    SPARSEBP_CURVE(relu6)
    SPARSEBP_CURVE(leaky_relu)
    SPARSEBP_CURVE(clip)
    SPARSEBP_CURVE(hardsigmoid)
    SPARSEBP_CURVE(hardswish)
    SPARSEBP_CURVE(sigmoid)
    SPARSEBP_CURVE(silu)
    SPARSEBP_CURVE(gelu)
    SPARSEBP_CURVE(gelu_tanh)
    SPARSEBP_CURVE(tanh)
    SPARSEBP_CURVE(elu)
    SPARSEBP_CURVE(softplus)
    SPARSEBP_CURVE(mish)
#undef SPARSEBP_CURVE
    default:
      return;
  }
}

template <class V>
void curve_forward(const CurveArgs<typename V::value>& args) {
  with_curve(args.activation, [&args](auto kind) { curve_forward_of<typename V::value, kind.value>(args); });
}

template <class V>
void curve_backward(const CurveGradArgs<typename V::value>& args) {
  with_curve(args.activation, [&args](auto kind) { curve_backward_of<typename V::value, kind.value>(args); });
}

}  // namespace
}  // namespace sparsebp

// First and second derivatives of activation functions, for both devices.
//
// All are made of one exponential of a number that is not positive, so nothing overflows, and of
// +, -, *, /, fused multiply-adds and integer operations, so that loops over them vectorise and
// devices agree to the bit. x86 without fused multiply-adds differs in last bits.
#pragma once

#include <type_traits>

#include "tangents.h"

namespace landscape {
namespace {

template <typename T>
struct Derivatives {
  T first;
  T second;
};

// How numbers of a type are laid out, and ln(2) in two parts: the first with so many zeros at its
// end that its products with exponents are exact.
template <typename T>
struct Layout;

template <>
struct Layout<float> {
  typedef uint32_t Bits;
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kShift = 12582912.0f;  // 1.5 2^23: integers sit in its lowest bits
  static constexpr float kLowest = -87.0f;      // exp of it is a normal number
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440054690583e-04f;
};

template <>
struct Layout<double> {
  typedef uint64_t Bits;
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kShift = 6755399441055744.0;  // 1.5 2^52
  static constexpr double kLowest = -700.0;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
};

// a b + c, in one rounding where the hardware can.
template <typename T>
LANDSCAPE_SHARED T plus_product(T a, T b, T c) {
#if defined(__CUDA_ARCH__)
  return fma(a, b, c);
#elif defined(__FMA__) || defined(__aarch64__)
  if constexpr (sizeof(T) == sizeof(float)) {
    return __builtin_fmaf(a, b, c);
  } else {
    return __builtin_fma(a, b, c);
  }
#else
  return a * b + c;
#endif
}

// c0 + c1 x + c2 x^2 ...
template <typename T, typename... Rest>
LANDSCAPE_SHARED T polynomial(T x, double c0, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return static_cast<T>(c0);
  } else {
    return plus_product(x, polynomial(x, rest...), static_cast<T>(c0));
  }
}

template <typename T>
struct Exponential {
  T value;      // exp(x)
  T minus_one;  // exp(x) - 1, to full relative accuracy
};

// x <= 0. exp(x) = 2^n exp(r) with |r| <= ln(2) / 2; Taylor's series in r.
template <typename T>
LANDSCAPE_SHARED Exponential<T> exponential(T x) {
  typedef Layout<T> L;
  const T clamped = x < L::kLowest ? L::kLowest : x;
  const T shifted = plus_product(clamped, static_cast<T>(1.44269504088896338700), L::kShift);
  const T n = shifted - L::kShift;
  const T r = plus_product(-n, L::kLn2Low, plus_product(-n, L::kLn2High, clamped));
  T series;
  if constexpr (sizeof(T) == sizeof(double)) {
    series = polynomial(r, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                        1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600,
                        1.0 / 6227020800);
  } else {
    series = polynomial(r, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040);
  }
  typename L::Bits bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + L::kBias) << L::kMantissa;
  T power;
  __builtin_memcpy(&power, &bits, sizeof power);
  const T change = power * (r * series);
  return {power + change, change + (power - T{1})};
}

// Phi(-a) / phi(a) of the normal distribution, a >= 0 (Mills' ratio): (a + 4) times it is a
// polynomial in t = (a - 4) / (a + 4), by Chebyshev interpolation; relative error 4e-16, or 2e-9 in
// float32. The form is that of Shepherd and Laframboise (1981), doi:10.2307/2007742.
template <typename T>
LANDSCAPE_SHARED T mills_ratio(T a) {
  const T inverse = T{1} / (a + T{4}), t = (a - T{4}) * inverse;
  if constexpr (sizeof(T) == sizeof(double)) {
    return inverse *
           polynomial(t, 1.8932190633084853, -1.5237709108199835, 0.9704095548675884,
                      -0.4675409629983325, 0.15139176231244347, -0.018900450861711257,
                      -0.008722295274260125, 0.004087855681200072, 0.0003342446162328441,
                      -0.0005792693046478719, -4.783264259417208e-06, 8.809573121072337e-05,
                      1.7963971214040778e-06, -1.4843277679080294e-05, -1.5787665654677373e-06,
                      2.568755311229722e-06, 6.829633831673466e-07, -4.00493929251171e-07,
                      -2.1774195022039326e-07, 4.473060051450323e-08, 5.3711037651589576e-08,
                      -1.4722998923746307e-09, -9.35134044482434e-09, -3.0073979672398766e-10,
                      8.53083886026053e-10);
  } else {
    return inverse * polynomial(t, 1.8932190632784764, -1.5237708842355158, 0.9704095579785718,
                                -0.4675417196997065, 0.15139170870372737, -0.01889425495863427,
                                -0.008721939087097865, 0.00406585159110301, 0.0003330645560998499,
                                -0.0005403633229085987, -2.601577183677131e-06,
                                5.309786727520944e-05, -5.792008863048191e-07);
  }
}

// The logistic function s, 1 - 2 s and s (1 - s) of z.
template <typename T>
struct Logistic {
  T s;
  T odds;  // 1 - 2 s = -tanh(z / 2), to full relative accuracy
  T slope;
};

template <typename T>
LANDSCAPE_SHARED Logistic<T> logistic(T z) {
  const Exponential<T> e = exponential(z < T{0} ? z : -z);
  const T q = T{1} / (T{1} + e.value), far = e.minus_one * q, near = e.value * q;
  return {z < T{0} ? near : q, z < T{0} ? -far : far, near * q};
}

template <Activation kind, typename T>
LANDSCAPE_SHARED Derivatives<T> derivatives(T z) {
  constexpr T zero = 0, one = 1, two = 2;
  if constexpr (kind == Activation::relu) {
    return {z > zero ? one : zero, zero};
  } else if constexpr (kind == Activation::gelu) {
    constexpr T kDensity = static_cast<T>(0.39894228040143267794);  // 1 / sqrt(2 pi)
    const T a = z < zero ? -z : z, square = z * z;
    const T density = kDensity * exponential(static_cast<T>(-0.5) * square).value;
    const T lower = density * (mills_ratio(a) - a);
    return {z < zero ? lower : one - lower, density * (two - square)};
  } else if constexpr (kind == Activation::gelu_tanh) {
    // 0.5 (1 + tanh(u)) is the logistic function of 2 u.
    constexpr T kRoot = static_cast<T>(0.79788456080286535588);  // sqrt(2 / pi)
    constexpr T kCubic = static_cast<T>(0.044715), three = 3;
    const T square = z * z;
    const Logistic<T> l = logistic(two * kRoot * (z + kCubic * (z * square)));
    const T u_first = kRoot * (one + three * kCubic * square);
    const T z_u_second = two * three * kRoot * kCubic * square;
    const T bend = two * u_first + z_u_second + two * l.odds * (z * u_first) * u_first;
    return {l.s + two * (l.slope * z) * u_first, two * l.slope * bend};
  } else if constexpr (kind == Activation::silu) {
    const Logistic<T> l = logistic(z);
    return {l.s + l.slope * z, l.slope * (two + z * l.odds)};
  } else if constexpr (kind == Activation::tanh) {
    const Logistic<T> l = logistic(two * z);
    constexpr T four = 4, eight = 8;
    return {four * l.slope, eight * l.slope * l.odds};
  } else if constexpr (kind == Activation::sigmoid) {
    const Logistic<T> l = logistic(z);
    return {l.slope, l.slope * l.odds};
  } else {
    constexpr T straight = 20;  // torch's softplus is the identity from there on
    const Logistic<T> l = logistic(z);
    return {z > straight ? one : l.s, z >= straight ? zero : l.slope};
  }
}

template <Activation kind>
using ActivationConstant = std::integral_constant<Activation, kind>;

// body(kind) with the kind as a constant
template <typename Body>
LANDSCAPE_SHARED void for_activation(Activation kind, const Body& body) {
  switch (kind) {
    case Activation::relu:
      return body(ActivationConstant<Activation::relu>{});
    case Activation::gelu:
      return body(ActivationConstant<Activation::gelu>{});
    case Activation::gelu_tanh:
      return body(ActivationConstant<Activation::gelu_tanh>{});
    case Activation::silu:
      return body(ActivationConstant<Activation::silu>{});
    case Activation::tanh:
      return body(ActivationConstant<Activation::tanh>{});
    case Activation::sigmoid:
      return body(ActivationConstant<Activation::sigmoid>{});
    case Activation::softplus:
      return body(ActivationConstant<Activation::softplus>{});
  }
}

}  // namespace
}  // namespace landscape

// Two standard Gaussians from 64 random bits, equal to the bit on every device.
//
//   r = sqrt(-2 ln u),  u = (w0 + 1/2) / 2^32;   z0 = r cos(2 pi v),  z1 = r sin(2 pi v),  v = w1 /
//   2^32
//
// Box and Muller (1958), doi:10.1214/aoms/1177706645. Largest magnitude sqrt(-2 ln 2^-33) = 6.76.
//
// Only +, -, *, /, sqrt and integer operations occur, all of which IEEE 754 fixes to the last bit;
// the compilers are kept from fusing products into sums (-ffp-contract=off, -fmad=false). Hence no
// libm, and loops over these functions vectorise. The polynomials are the minimax ones of fdlibm
// (Sun Microsystems 1993; https://www.netlib.org/fdlibm/, e_log.c, k_sin.c, k_cos.c), good to an
// ulp of float64.
#pragma once

#include "philox.h"

#ifdef __CUDA_ARCH__
#define LANDSCAPE_SQRT(x) __dsqrt_rn(x)
#else
#define LANDSCAPE_SQRT(x) __builtin_sqrt(x)
#endif

namespace landscape {
namespace {

struct Pair {
  double first;
  double second;
};

LANDSCAPE_SHARED uint64_t bits_of(double x) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

LANDSCAPE_SHARED double from_bits(uint64_t bits) {
  double x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// ln((w + 1/2) / 2^32)
LANDSCAPE_SHARED double log_uniform(uint32_t w) {
  // Through a signed integer: vector units without AVX-512 convert no other.
  const double shifted = static_cast<double>(static_cast<int32_t>(w - 0x80000000u));
  const uint64_t bits = bits_of(shifted + 2147483648.5);
  // x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2))
  constexpr uint64_t kOne = 0x3FF0000000000000u, kRootHalf = 0x3FE6A09E00000000u;
  const uint64_t moved = bits + (kOne - kRootHalf);
  const double f = from_bits((moved & 0x000FFFFFFFFFFFFFu) + kRootHalf) - 1.0;
  // The exponent as a double, by placing its integer below the unit bit of 2^52.
  const double e =
      from_bits((moved >> 52) | 0x4330000000000000u) - (4503599627370496.0 + 1023 + 32);
  const double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  const double r =
      z * (0.6666666666666735130 +
           z * (0.3999999999940941908 +
                z * (0.2857142874366239149 +
                     z * (0.2222219843214978396 +
                          z * (0.1818357216161805012 +
                               z * (0.1531383769920937332 + z * 0.1479819860511658591))))));
  constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  return e * kLn2High - ((half - (s * (half + r) + e * kLn2Low)) - f);
}

// (cos, sin) of 2 pi w / 2^32
LANDSCAPE_SHARED Pair turn(uint32_t w) {
  const uint32_t quadrant = (w + 0x20000000u) >> 30;  // 0 to 4
  const double rest = static_cast<double>(static_cast<int32_t>(w - (quadrant << 30)));
  const double x = rest * 1.46291807926715968105e-09;  // 2 pi / 2^32, |x| <= pi / 4
  const double z = x * x;
  const double sine =
      x + x * z *
              (-1.66666666666666324348e-01 +
               z * (8.33333333332248946124e-03 +
                    z * (-1.98412698298579493134e-04 +
                         z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 +
                                                                z * 1.58969099521155010221e-10)))));
  const double cosine =
      1.0 -
      (0.5 * z -
       z * z *
           (4.16666666666666019037e-02 +
            z * (-1.38888888888741095749e-03 +
                 z * (2.48015872894767294178e-05 +
                      z * (-2.75573143513906633035e-07 +
                           z * (2.08757232129817482790e-09 - z * 1.13596475577881948265e-11))))));
  // A quarter turn maps (cos, sin) to (-sin, cos).
  const uint64_t c = bits_of(cosine), s = bits_of(sine);
  const uint64_t odd = uint64_t{0} - (quadrant & 1), q = quadrant;
  const uint64_t first = (c & ~odd) | (s & odd), second = (s & ~odd) | (c & odd);
  return {from_bits(first ^ (((q ^ (q >> 1)) & 1) << 63)),
          from_bits(second ^ (((q >> 1) & 1) << 63))};
}

LANDSCAPE_SHARED Pair gaussian_pair(uint32_t w0, uint32_t w1) {
  const double radius = LANDSCAPE_SQRT(-2.0 * log_uniform(w0));
  const Pair direction = turn(w1);
  return {radius * direction.first, radius * direction.second};
}

}  // namespace
}  // namespace landscape

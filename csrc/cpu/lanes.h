// Eight float64 lanes in as many registers as the instruction set needs.
//
// Included by kernels.cpp alone. Everything has internal linkage: the same names are compiled for
// several instruction sets, and the linker must never pick one for another.
#pragma once

#include "kernels.h"

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace landscape::cpu {
namespace {

#define LANDSCAPE_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
constexpr int kWidth = 8;
#elif defined(__AVX2__)
constexpr int kWidth = 4;
#else
constexpr int kWidth = 2;
#endif
constexpr int kParts = kLanes / kWidth;

typedef double Part __attribute__((vector_size(8 * kWidth)));

struct Lanes {
  Part part[kParts];
};

// Widening and narrowing are spelt out: gcc 12 splits its own vector conversions.
LANDSCAPE_INLINE Part widen(const float* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<Part>(_mm512_cvtps_pd(_mm256_loadu_ps(p)));
#elif defined(__AVX2__)
  return reinterpret_cast<Part>(_mm256_cvtps_pd(_mm_loadu_ps(p)));
#else
  return Part{p[0], p[1]};
#endif
}

LANDSCAPE_INLINE void narrow(float* p, Part a) {
#if defined(__AVX512F__)
  _mm256_storeu_ps(p, _mm512_cvtpd_ps(reinterpret_cast<__m512d>(a)));
#elif defined(__AVX2__)
  _mm_storeu_ps(p, _mm256_cvtpd_ps(reinterpret_cast<__m256d>(a)));
#else
  p[0] = static_cast<float>(a[0]);
  p[1] = static_cast<float>(a[1]);
#endif
}

// c + a * b and c - a * b, in one rounding where the hardware can.
LANDSCAPE_INLINE Part plus_product(Part c, Part a, Part b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Part>(_mm512_fmadd_pd(
      reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b), reinterpret_cast<__m512d>(c)));
#elif defined(__AVX2__)
  return reinterpret_cast<Part>(_mm256_fmadd_pd(
      reinterpret_cast<__m256d>(a), reinterpret_cast<__m256d>(b), reinterpret_cast<__m256d>(c)));
#elif defined(__aarch64__)
  return reinterpret_cast<Part>(vfmaq_f64(reinterpret_cast<float64x2_t>(c),
                                          reinterpret_cast<float64x2_t>(a),
                                          reinterpret_cast<float64x2_t>(b)));
#else
  return c + a * b;
#endif
}

LANDSCAPE_INLINE Part minus_product(Part c, Part a, Part b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Part>(_mm512_fnmadd_pd(
      reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b), reinterpret_cast<__m512d>(c)));
#elif defined(__AVX2__)
  return reinterpret_cast<Part>(_mm256_fnmadd_pd(
      reinterpret_cast<__m256d>(a), reinterpret_cast<__m256d>(b), reinterpret_cast<__m256d>(c)));
#elif defined(__aarch64__)
  return reinterpret_cast<Part>(vfmsq_f64(reinterpret_cast<float64x2_t>(c),
                                          reinterpret_cast<float64x2_t>(a),
                                          reinterpret_cast<float64x2_t>(b)));
#else
  return c - a * b;
#endif
}

LANDSCAPE_INLINE Lanes load(const float* p) {
  Lanes r;
  for (int h = 0; h < kParts; ++h) r.part[h] = widen(p + h * kWidth);
  return r;
}

LANDSCAPE_INLINE Lanes load(const double* p) {
  Lanes r;
  for (int h = 0; h < kParts; ++h) __builtin_memcpy(&r.part[h], p + h * kWidth, sizeof(Part));
  return r;
}

LANDSCAPE_INLINE void store(float* p, const Lanes& a) {
  for (int h = 0; h < kParts; ++h) narrow(p + h * kWidth, a.part[h]);
}

LANDSCAPE_INLINE void store(double* p, const Lanes& a) {
  for (int h = 0; h < kParts; ++h) __builtin_memcpy(p + h * kWidth, &a.part[h], sizeof(Part));
}

LANDSCAPE_INLINE Lanes broadcast(double value) {
  Lanes r;
  for (int h = 0; h < kParts; ++h) r.part[h] = value - Part{};
  return r;
}

LANDSCAPE_INLINE void add_product(Lanes& sum, const Lanes& a, const Lanes& b) {
  for (int h = 0; h < kParts; ++h) sum.part[h] = plus_product(sum.part[h], a.part[h], b.part[h]);
}

LANDSCAPE_INLINE void subtract_product(Lanes& rest, const Lanes& a, const Lanes& b) {
  for (int h = 0; h < kParts; ++h) rest.part[h] = minus_product(rest.part[h], a.part[h], b.part[h]);
}

template <typename scalar_t>
constexpr int64_t kLine = 64 / sizeof(scalar_t);  // entries per cache line

// Asks for the entry `ahead` columns on, for use after the current tile: tiles are too short for
// the hardware to recognise their rows as streams.
template <typename scalar_t>
LANDSCAPE_INLINE void prefetch(const scalar_t* p, int64_t ahead) {
  __builtin_prefetch(p + ahead, 0, 2);
}

// (k, width) tile of either type as float64
template <typename scalar_t>
void pack(const scalar_t* x, int64_t stride, int64_t k, int64_t width, double* packed) {
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < width; j += kLanes) {
      store(packed + i * width + j, load(x + i * stride + j));
      prefetch(x + i * stride + j, width);
    }
  }
}

}  // namespace
}  // namespace landscape::cpu

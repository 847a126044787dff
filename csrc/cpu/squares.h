// Sums of squares: of columns, and of the gradients of filters in tiles that stay in registers.
#pragma once

#include "../squares.h"
#include "vectors.h"

namespace landscape::cpu {
namespace {

template <int count, typename scalar_t>
LANDSCAPE_INLINE void add_squares_of(const scalar_t* const* rows, int64_t n, double* sums) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    Lanes sum = load(sums + j);
    for (int r = 0; r < count; ++r) {
      const Lanes value = load(rows[r] + j);
      add_product(sum, value, value);
    }
    store(sums + j, sum);
  }
  for (; j < n; ++j) {
    for (int r = 0; r < count; ++r) sums[j] = plus_square(sums[j], rows[r][j]);
  }
}

template <typename scalar_t>
void add_squares(const scalar_t* const* rows, int64_t count, int64_t n, double* sums) {
  if (count == kSquareRows) return add_squares_of<kSquareRows>(rows, n, sums);
  for (int64_t r = 0; r < count; ++r) add_squares_of<1>(rows + r, n, sums);
}

// Rows and vectors of a tile of products: as many sums as leave registers for their factors.
#if defined(__AVX512F__)
constexpr int kFilterRows = 8, kFilterVectors = 3;
#elif defined(__AVX2__)
constexpr int kFilterRows = 4, kFilterVectors = 3;
#else
constexpr int kFilterRows = 4, kFilterVectors = 2;
#endif

// c + a * b, in one rounding where the hardware can.
LANDSCAPE_INLINE Vector<double> fused(Vector<double> c, Vector<double> a, Vector<double> b) {
  return plus_product(c, a, b);
}

LANDSCAPE_INLINE Vector<float> fused(Vector<float> c, Vector<float> a, Vector<float> b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vector<float>>(_mm512_fmadd_ps(
      reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__AVX2__)
  return reinterpret_cast<Vector<float>>(_mm256_fmadd_ps(
      reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__aarch64__)
  return reinterpret_cast<Vector<float>>(vfmaq_f32(reinterpret_cast<float32x4_t>(c),
                                                   reinterpret_cast<float32x4_t>(a),
                                                   reinterpret_cast<float32x4_t>(b)));
#else
  return c + a * b;
#endif
}

// One tile: gradients of `rows` rows (delta of one output and cotangent each) in `vectors` vectors
// of adjacent taps, and their squares added to `totals`. Taps past `valid` read what lies behind
// and are dropped.
template <int rows, int vectors, typename scalar_t>
LANDSCAPE_INLINE void filter_tile(const scalar_t* const* deltas, const scalar_t* image,
                                  const FilterSteps& steps, int64_t valid, double* const* totals) {
  constexpr int64_t kWidthOf = kVector<scalar_t>;
  typedef Vector<scalar_t> T;
  T sums[rows][vectors] = {};
  for (int64_t h = 0; h < steps.height; ++h) {
    const scalar_t* line = image + h * steps.down;
    const int64_t first = h * steps.width;
    for (int64_t w = 0; w < steps.width; ++w) {
      T taps[vectors];
      for (int v = 0; v < vectors; ++v) {
        __builtin_memcpy(&taps[v], line + w * steps.across + v * kWidthOf, sizeof(T));
      }
      for (int r = 0; r < rows; ++r) {
        const T delta = deltas[r][first + w] - T{};
        for (int v = 0; v < vectors; ++v) sums[r][v] = fused(sums[r][v], delta, taps[v]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    scalar_t flat[vectors * kWidthOf];
    __builtin_memcpy(flat, sums[r], sizeof flat);
    const scalar_t* row[1] = {flat};
    add_squares_of<1>(row, valid, totals[r]);
  }
}

// All rows against some taps of a run, `rows` at a time and the rest in halves.
template <int rows, int vectors, typename scalar_t>
LANDSCAPE_INLINE void filter_rows(const scalar_t* const* deltas, int64_t count,
                                  const scalar_t* image, const FilterSteps& steps, int64_t valid,
                                  double* const* totals, int64_t shift) {
  int64_t r = 0;
  double* moved[rows];
  for (; r + rows <= count; r += rows) {
    for (int i = 0; i < rows; ++i) moved[i] = totals[r + i] + shift;
    filter_tile<rows, vectors>(deltas + r, image, steps, valid, moved);
  }
  if constexpr (rows > 1) {
    filter_rows<rows / 2, vectors>(deltas + r, count - r, image, steps, valid, totals + r, shift);
  }
}

template <typename scalar_t>
void filter_squares(const scalar_t* const* deltas, int64_t count, const scalar_t* image,
                    const FilterSteps& steps, int64_t taps, double* const* totals) {
  constexpr int64_t kWidthOf = kVector<scalar_t>;
  for (int64_t first = 0; first < taps;) {
    const int64_t left = taps - first, vectors = (left + kWidthOf - 1) / kWidthOf;
    const auto tile = vectors >= kFilterVectors ? filter_rows<kFilterRows, kFilterVectors, scalar_t>
                      : vectors == 2            ? filter_rows<kFilterRows, 2, scalar_t>
                                                : filter_rows<kFilterRows, 1, scalar_t>;
    const int64_t most = std::min<int64_t>(vectors, kFilterVectors) * kWidthOf;
    const int64_t valid = std::min(left, most);
    tile(deltas, count, image + first, steps, valid, totals, first);
    first += valid;
  }
}

}  // namespace
}  // namespace landscape::cpu

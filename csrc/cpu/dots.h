// Inner products of rows: of one pair, and of all pairs of two tiles.
#pragma once

#include "lanes.h"

namespace landscape::cpu {
namespace {

// Rows of x and of y whose sums stay in registers together. A row of x alone meets more rows of y,
// so that enough independent sums hide the latency of the addition.
#if defined(__AVX512F__)
constexpr int kRows = 4, kColumns = 4;
#elif defined(__AVX2__)
constexpr int kRows = 2, kColumns = 2;
#else
constexpr int kRows = 1, kColumns = 2;
#endif

template <int rows, int columns, typename scalar_t>
void pair_dots(const double* x, int64_t x_stride, const scalar_t* y, int64_t y_stride,
               int64_t width, double* sums, int64_t sums_stride) {
  Lanes sum[rows][columns];
  for (int i = 0; i < rows; ++i) {
    for (int l = 0; l < columns; ++l) sum[i][l] = load(sums + i * sums_stride + l * kLanes);
  }
  for (int64_t j = 0; j < width; j += kLanes) {
    Lanes b[columns];
    for (int l = 0; l < columns; ++l) {
      b[l] = load(y + l * y_stride + j);
      if (j % kLine<scalar_t> == 0) prefetch(y + l * y_stride + j, width);
    }
    for (int i = 0; i < rows; ++i) {
      const Lanes a = load(x + i * x_stride + j);
      for (int l = 0; l < columns; ++l) add_product(sum[i][l], a, b[l]);
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int l = 0; l < columns; ++l) store(sums + i * sums_stride + l * kLanes, sum[i][l]);
  }
}

// `rows` packed rows of x against rows l to m of y, `columns` at a time and the rest in halves. The
// rows of x stay in the first cache, those of y come from the second one.
template <int rows, int columns, typename scalar_t>
void row_group_dots(const double* x, int64_t x_stride, const scalar_t* y, int64_t y_stride,
                    int64_t l, int64_t m, int64_t width, double* sums) {
  for (; l + columns <= m; l += columns) {
    pair_dots<rows, columns>(x, x_stride, y + l * y_stride, y_stride, width, sums + l * kLanes,
                             m * kLanes);
  }
  if constexpr (columns > 1) {
    row_group_dots<rows, columns / 2>(x, x_stride, y, y_stride, l, m, width, sums);
  }
}

// Rows i to k of x, `rows` at a time and the rest in halves.
template <int rows, typename scalar_t>
void tile_dots_from(int64_t i, const scalar_t* x, int64_t x_stride, int64_t k, const scalar_t* y,
                    int64_t y_stride, int64_t m, int64_t width, double* packed, double* sums) {
  constexpr int columns = rows == 1 ? 2 * kColumns : kColumns;
  for (; i + rows <= k; i += rows) {
    const scalar_t* group = x + i * x_stride;
    if constexpr (sizeof(scalar_t) == sizeof(double)) {
      row_group_dots<rows, columns>(group, x_stride, y, y_stride, 0, m, width,
                                    sums + i * m * kLanes);
    } else {
      pack(group, x_stride, rows, width, packed);
      row_group_dots<rows, columns>(packed, width, y, y_stride, 0, m, width, sums + i * m * kLanes);
    }
  }
  if constexpr (rows > 1) {
    tile_dots_from<rows / 2>(i, x, x_stride, k, y, y_stride, m, width, packed, sums);
  }
}

template <typename scalar_t>
void tile_dots(const scalar_t* x, int64_t x_stride, int64_t k, const scalar_t* y, int64_t y_stride,
               int64_t m, int64_t width, double* packed, double* sums) {
  tile_dots_from<kRows>(0, x, x_stride, k, y, y_stride, m, width, packed, sums);
}

// Four groups of lanes: one alone would wait for its own additions.
template <typename scalar_t>
double dot(const scalar_t* x, const scalar_t* y, int64_t n) {
  constexpr int kGroups = 4;
  Lanes sum[kGroups] = {};
  int64_t j = 0;
  for (; j + kGroups * kLanes <= n; j += kGroups * kLanes) {
    for (int g = 0; g < kGroups; ++g) {
      add_product(sum[g], load(x + j + g * kLanes), load(y + j + g * kLanes));
    }
  }
  if (j < n) {
    scalar_t rest[2][kGroups * kLanes] = {};
    __builtin_memcpy(rest[0], x + j, (n - j) * sizeof(scalar_t));
    __builtin_memcpy(rest[1], y + j, (n - j) * sizeof(scalar_t));
    for (int g = 0; g < kGroups; ++g) {
      add_product(sum[g], load(rest[0] + g * kLanes), load(rest[1] + g * kLanes));
    }
  }
  double lanes[kLanes];
  for (int h = 0; h < kParts; ++h) {
    sum[0].part[h] = (sum[0].part[h] + sum[1].part[h]) + (sum[2].part[h] + sum[3].part[h]);
  }
  store(lanes, sum[0]);
  return join_lanes(lanes);
}

}  // namespace
}  // namespace landscape::cpu

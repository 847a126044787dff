// Subtracting combinations of basis rows from a tile.
#pragma once

#include "lanes.h"

namespace landscape::cpu {
namespace {

// Basis rows and lane groups held in registers while all rows of y pass by: each entry of the
// basis is widened once, and y is touched once per kDepth rows of the basis.
#if defined(__AVX512F__)
constexpr int kDepth = 8, kGroups = 2;
#elif defined(__AVX2__)
constexpr int kDepth = 4, kGroups = 1;
#else
constexpr int kDepth = 2, kGroups = 1;
#endif

template <int depth, int groups, typename scalar_t>
LANDSCAPE_INLINE void update_lanes(double* y, int64_t y_stride, int64_t k, const double* c,
                                   int64_t c_stride, const scalar_t* basis, int64_t basis_stride,
                                   int64_t ahead) {
  Lanes b[depth][groups];
  for (int l = 0; l < depth; ++l) {
    for (int g = 0; g < groups; ++g) b[l][g] = load(basis + l * basis_stride + g * kLanes);
    prefetch(basis + l * basis_stride, ahead);
  }
  for (int64_t i = 0; i < k; ++i) {
    Lanes value[groups];
    for (int g = 0; g < groups; ++g) value[g] = load(y + i * y_stride + g * kLanes);
    for (int l = 0; l < depth; ++l) {
      const Lanes factor = broadcast(c[i * c_stride + l]);
      for (int g = 0; g < groups; ++g) subtract_product(value[g], factor, b[l][g]);
    }
    for (int g = 0; g < groups; ++g) store(y + i * y_stride + g * kLanes, value[g]);
  }
}

// Rows l to m of the basis, `depth` at a time and the rest in halves.
template <int depth, typename scalar_t>
void row_group_update(int64_t l, double* y, int64_t y_stride, int64_t k, const double* c,
                      int64_t c_stride, const scalar_t* basis, int64_t basis_stride, int64_t m,
                      int64_t width) {
  for (; l + depth <= m; l += depth) {
    const scalar_t* rows = basis + l * basis_stride;
    int64_t j = 0;
    for (; j + kGroups * kLanes <= width; j += kGroups * kLanes) {
      update_lanes<depth, kGroups>(y + j, y_stride, k, c + l, c_stride, rows + j, basis_stride,
                                   width);
    }
    for (; j < width; j += kLanes) {
      update_lanes<depth, 1>(y + j, y_stride, k, c + l, c_stride, rows + j, basis_stride, width);
    }
  }
  if constexpr (depth > 1) {
    row_group_update<depth / 2>(l, y, y_stride, k, c, c_stride, basis, basis_stride, m, width);
  }
}

template <typename scalar_t>
void tile_update(scalar_t* y, int64_t y_stride, int64_t k, const double* c, int64_t c_stride,
                 const scalar_t* basis, int64_t basis_stride, int64_t m, int64_t width,
                 double* packed) {
  for (int64_t i = 0; i < k; i += kGroupRows) {
    const int64_t rows = k - i < kGroupRows ? k - i : kGroupRows;
    scalar_t* group = y + i * y_stride;
    if constexpr (sizeof(scalar_t) == sizeof(double)) {
      row_group_update<kDepth>(0, group, y_stride, rows, c + i * c_stride, c_stride, basis,
                               basis_stride, m, width);
    } else {
      pack(group, y_stride, rows, width, packed);
      row_group_update<kDepth>(0, packed, width, rows, c + i * c_stride, c_stride, basis,
                               basis_stride, m, width);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < width; j += kLanes) {
          store(group + r * y_stride + j, load(packed + r * width + j));
        }
      }
    }
  }
}

}  // namespace
}  // namespace landscape::cpu

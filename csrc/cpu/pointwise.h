// Activation functions: the factors of a tile from its primal values, and what the tangents get.
#pragma once

#include "../activations.h"
#include "../pointwise.h"
#include "vectors.h"

namespace landscape::cpu {
namespace {

template <typename scalar_t>
void activation_factors(Activation kind, const scalar_t* __restrict__ z,
                        const scalar_t* __restrict__ weight, int64_t n,
                        scalar_t* __restrict__ slopes, scalar_t* __restrict__ bends) {
  for_activation(kind, [&](auto constant) {
    constexpr Activation kKind = decltype(constant)::value;
    if (bends == nullptr) {
      for (int64_t j = 0; j < n; ++j) {
        slopes[j] = derivatives<kKind>(z[j]).first;
      }
    } else if (slopes == nullptr) {
      for (int64_t j = 0; j < n; ++j) {
        bends[j] = derivatives<kKind>(z[j]).second * weight[j];
      }
    } else {
      for (int64_t j = 0; j < n; ++j) {
        const Derivatives<scalar_t> d = derivatives<kKind>(z[j]);
        slopes[j] = d.first;
        bends[j] = d.second * weight[j];
      }
    }
  });
}

template <typename scalar_t>
void activation_tangent(const scalar_t* bends, const scalar_t* z_dot, const scalar_t* slopes,
                        const scalar_t* delta_dot, scalar_t* out, int64_t n) {
  const PointwisePieces<scalar_t> at{z_dot, delta_dot, out};
  for_each_vector<scalar_t>(0, n, [&](int64_t j, auto kind) {
    typedef decltype(kind) T;
    if constexpr (sizeof(T) > sizeof(scalar_t)) {
      // Runs are too short for the hardware to stream them from memory by itself.
      constexpr int64_t kAhead = 2048 / sizeof(scalar_t);
      if (z_dot != nullptr) prefetch(z_dot + j, kAhead);
      if (delta_dot != nullptr) prefetch(delta_dot + j, kAhead);
      __builtin_prefetch(out + j + kAhead, 1, 2);
    }
    pointwise_step<T>(at, j, delta_dot != nullptr ? take<T>(slopes + j) : T{},
                      z_dot != nullptr ? take<T>(bends + j) : T{});
  });
}

template <typename scalar_t>
double weighted_square(const scalar_t* weight, const scalar_t* x, int64_t n) {
  typedef Vector<scalar_t> T;
  double sums[kLanes] = {};
  for (int64_t begin = 0; begin < n; begin += kRun<scalar_t>) {
    const int64_t end = n - begin < kRun<scalar_t> ? n : begin + kRun<scalar_t>;
    T sum[kParts] = {};
    int64_t j = begin;
    for (; j + kWide<scalar_t> <= end; j += kWide<scalar_t>) {
      for (int h = 0; h < kParts; ++h) {
        const T value = take<T>(x + j + h * kVector<scalar_t>);
        sum[h] += take<T>(weight + j + h * kVector<scalar_t>) * (value * value);
      }
    }
    scalar_t lanes[kWide<scalar_t>];
    __builtin_memcpy(lanes, sum, sizeof sum);
    for (int64_t l = 0; j < end; ++j, ++l) lanes[l] += weight[j] * (x[j] * x[j]);
    for (int64_t g = 0; g < kWide<scalar_t>; g += kLanes) add_lanes(lanes + g, sums);
  }
  return join_lanes(sums);
}

}  // namespace
}  // namespace landscape::cpu

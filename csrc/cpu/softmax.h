// Rows of the second derivative of softmax cross-entropy, in eight float64 lanes.
#pragma once

#include "../softmax.h"
#include "lanes.h"

namespace landscape::cpu {
namespace {

// Four groups of lanes, so that additions need not wait for one another; then the last
// columns one by one.
template <typename scalar_t, typename Term>
LANDSCAPE_INLINE double sum_of_terms(const scalar_t* p, const scalar_t* dot, int64_t n,
                                     const Term& term) {
  constexpr int kGroups = 4;
  Lanes sum[kGroups] = {};
  const auto add = [&](int g, int64_t j) {
    const Lanes a = load(p + j), b = load(dot + j);
    for (int h = 0; h < kParts; ++h) sum[g].part[h] += term(a.part[h], b.part[h]);
  };
  int64_t j = 0;
  for (; j + kGroups * kLanes <= n; j += kGroups * kLanes) {
    for (int g = 0; g < kGroups; ++g) add(g, j + g * kLanes);
  }
  for (; j + kLanes <= n; j += kLanes) add(0, j);
  for (int h = 0; h < kParts; ++h) {
    sum[0].part[h] = (sum[0].part[h] + sum[1].part[h]) + (sum[2].part[h] + sum[3].part[h]);
  }
  double lanes[kLanes], rest = 0.0;
  store(lanes, sum[0]);
  for (; j < n; ++j) rest += term(static_cast<double>(p[j]), static_cast<double>(dot[j]));
  return join_lanes(lanes) + rest;
}

template <typename scalar_t>
LANDSCAPE_INLINE double softmax_mean(const scalar_t* p, const scalar_t* dot, int64_t n) {
  return sum_of_terms(p, dot, n, [](auto a, auto b) { return a * b; });
}

template <typename scalar_t>
void softmax_row(const scalar_t* p, const scalar_t* dot, double weight, scalar_t* out, int64_t n) {
  const double mean = softmax_mean(p, dot, n);
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    const Lanes a = load(p + j), b = load(dot + j);
    Lanes value;
    for (int h = 0; h < kParts; ++h) {
      value.part[h] = softmax_element(a.part[h], b.part[h], mean, weight);
    }
    store(out + j, value);
  }
  for (; j < n; ++j) {
    out[j] = static_cast<scalar_t>(
        softmax_element(static_cast<double>(p[j]), static_cast<double>(dot[j]), mean, weight));
  }
}

template <typename scalar_t>
double softmax_spread(const scalar_t* p, const scalar_t* dot, int64_t n) {
  const double mean = softmax_mean(p, dot, n);
  return sum_of_terms(p, dot, n, [mean](auto a, auto b) { return softmax_square(a, b, mean); });
}

}  // namespace
}  // namespace landscape::cpu

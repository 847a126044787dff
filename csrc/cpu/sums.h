// Several sums over adjacent elements at once, in the data's type for at most 64 terms each, then
// in eight float64 lanes.
#pragma once

#include <type_traits>
#include <utility>

#include "vectors.h"

namespace landscape::cpu {
namespace {

// The type of the terms that a function is asked for: a vector or a number.
template <typename Terms>
using Term = std::remove_reference_t<decltype(std::declval<Terms>()[0])>;

// lanes[i] += the sum over j from begin to end of what terms(j, t) leaves in t[i]; at most kRun of
// j
template <typename scalar_t, int count, typename Terms>
LANDSCAPE_INLINE void add_run(int64_t begin, int64_t end, double (*lanes)[kLanes],
                              const Terms& terms) {
  typedef Vector<scalar_t> T;
  T wide[count][kParts] = {};
  int64_t j = begin;
  for (; j + kWide<scalar_t> <= end; j += kWide<scalar_t>) {
    for (int h = 0; h < kParts; ++h) {
      T found[count];
      terms(j + h * kVector<scalar_t>, found);
      for (int i = 0; i < count; ++i) wide[i][h] += found[i];
    }
  }
  scalar_t flat[count][kWide<scalar_t>];
  __builtin_memcpy(flat, wide, sizeof flat);
  for (int64_t l = 0; j < end; ++j, ++l) {
    scalar_t found[count];
    terms(j, found);
    for (int i = 0; i < count; ++i) flat[i][l] += found[i];
  }
  for (int i = 0; i < count; ++i) {
    for (int64_t g = 0; g < kWide<scalar_t>; g += kLanes) add_lanes(flat[i] + g, lanes[i]);
  }
}

// body(begin, end) for runs from first to last
template <typename scalar_t, typename Body>
LANDSCAPE_INLINE void for_each_run(int64_t first, int64_t last, const Body& body) {
  for (int64_t begin = first; begin < last; begin += kRun<scalar_t>) {
    body(begin, last - begin < kRun<scalar_t> ? last : begin + kRun<scalar_t>);
  }
}

// sums[i] = the sum over j < n of what terms(j, t) leaves in t[i]
template <typename scalar_t, int count, typename Terms>
LANDSCAPE_INLINE void sum_terms(int64_t n, double (&sums)[count], const Terms& terms) {
  double lanes[count][kLanes] = {};
  for_each_run<scalar_t>(0, n, [&](int64_t begin, int64_t end) {
    add_run<scalar_t, count>(begin, end, lanes, terms);
  });
  for (int i = 0; i < count; ++i) sums[i] = join_lanes(lanes[i]);
}

}  // namespace
}  // namespace landscape::cpu

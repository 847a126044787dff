// Vectors of the data's own type: as many adjacent elements as 64 bytes hold, in as many registers
// as the instruction set needs. Included by kernels.cpp alone, like lanes.h.
#pragma once

#include "lanes.h"

namespace landscape::cpu {
namespace {

template <typename scalar_t>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(8 * kWidth)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(8 * kWidth)));
};

template <typename scalar_t>
using Vector = typename VectorOf<scalar_t>::type;

template <typename scalar_t>
constexpr int64_t kVector = 8 * kWidth / sizeof(scalar_t);  // elements of one register

template <typename scalar_t>
constexpr int64_t kWide = kParts * kVector<scalar_t>;  // elements of 64 bytes

// Elements that a sum in the data's type may run over: 64 terms per lane.
template <typename scalar_t>
constexpr int64_t kRun = 64 * kWide<scalar_t>;

// body(j, zero of type T) with T a vector for whole ones and then a number for single elements
template <typename scalar_t, typename Body>
LANDSCAPE_INLINE void for_each_vector(int64_t begin, int64_t end, const Body& body) {
  int64_t j = begin;
  for (; j + kVector<scalar_t> <= end; j += kVector<scalar_t>) body(j, Vector<scalar_t>{});
  for (; j < end; ++j) body(j, scalar_t{});
}

// sums[l] += lanes[l] over kLanes elements
template <typename scalar_t>
LANDSCAPE_INLINE void add_lanes(const scalar_t* lanes, double* sums) {
  const Lanes terms = load(lanes);
  Lanes sum = load(sums);
  for (int h = 0; h < kParts; ++h) sum.part[h] += terms.part[h];
  store(sums, sum);
}

}  // namespace
}  // namespace landscape::cpu

// A row of a layer normalisation as the warp that owns it reads and sums it.
#pragma once

#include "reduce.cuh"
#include "tangents.h"

namespace landscape::cuda {
namespace {

template <typename scalar_t>
__device__ scalar_t entry(const scalar_t* row, int64_t j, scalar_t otherwise) {
  return row == nullptr ? otherwise : row[j];
}

template <typename scalar_t>
__device__ const scalar_t* row_of(const Matrix& m, int64_t i) {
  return m.data == nullptr ? nullptr : m.as<scalar_t>() + i * m.stride;
}

// One row of the layer, as one warp sees it.
template <typename scalar_t>
struct LayerRow {
  const scalar_t *x, *weight;
  scalar_t mean, inverse;

  __device__ LayerRow(const LayerNorm& of, int64_t r)
      : x(of.x.as<scalar_t>() + r * of.x.stride),
        weight(of.weight.as<scalar_t>()),
        mean(of.mean.as<scalar_t>()[r]),
        inverse(of.inverse.as<scalar_t>()[r]) {}

  __device__ scalar_t normal(int64_t j) const { return (x[j] - mean) * inverse; }
  __device__ scalar_t gain(int64_t j) const { return entry(weight, j, scalar_t{1}); }
};

// sums[i] = sum over the n columns of what terms(j, t) leaves in t[i], known to every lane
template <typename scalar_t, int count, typename Terms>
__device__ void row_sums(int64_t n, double (&sums)[count], const Terms& terms) {
#pragma unroll
  for (int i = 0; i < count; ++i) sums[i] = 0.0;
  for (int64_t j = threadIdx.x % kWarp; j < n; j += kWarp) {
    scalar_t found[count];
    terms(j, found);
#pragma unroll
    for (int i = 0; i < count; ++i) sums[i] += static_cast<double>(found[i]);
  }
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const double own[1] = {sums[i]};
    sums[i] = warp_sums(own);
  }
}

// Means over a row of a tangent and of its product with the normalised row.
template <typename scalar_t>
__device__ void row_means(const LayerRow<scalar_t>& row, const scalar_t* dot, int64_t n,
                          double (&means)[2]) {
  row_sums<scalar_t>(n, means, [&](int64_t j, auto& terms) {
    terms[0] = entry(dot, j, scalar_t{0});
    terms[1] = terms[0] * row.normal(j);
  });
  for (double& mean : means) mean /= n;
}

}  // namespace
}  // namespace landscape::cuda

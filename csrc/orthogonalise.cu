// Classical Gram-Schmidt, twice, against orthonormal rows.
//
//   two rounds of   c = block basis^T;   block -= c basis;      coefficients = c of both, summed
//
// Mapping    the launches of block_dots.cu and block_update.cu in turn; the sum of the rounds gives
//            a thread to each coefficient.
// Traffic    four reads of the basis. The CPU fuses the inner two (cpu/sweep.h); here a tile of the
//            basis would have to outlive a barrier in the second cache, which is left until it can
//            be timed.
// Rounding   that of its parts.
// Limits     those of its parts.
// CPU twin   orthogonalise.cpp     Tests   tests/native/test_emulated_kernels.py
#include "kernels.h"
#include "launch.cuh"

namespace landscape::cuda {
namespace {

__global__ void add(double* __restrict__ total, const double* __restrict__ part, int64_t size) {
  const int64_t e = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (e < size) total[e] += part[e];
}

}  // namespace

int64_t orthogonalise_scratch(int64_t k, int64_t m, int64_t n) {
  return k * m + block_dots_scratch(k, m, n);
}

void orthogonalise(const Matrix& block, const Matrix& basis, double* coefficients,
                   double* scratch) {
  const int64_t k = block.rows, m = basis.rows, size = k * m;
  if (size == 0) return;
  const DeviceGuard guard(block.device);
  double *second = scratch, *partials = scratch + size;
  const auto factors = [&](double* c) { return Matrix{c, k, m, m, Scalar::float64, block.device}; };
  block_dots(block, basis, coefficients, partials);
  block_update(block, factors(coefficients), basis);
  block_dots(block, basis, second, partials);
  block_update(block, factors(second), basis);
  LANDSCAPE_LAUNCH(add, grid((size + kThreads - 1) / kThreads), kThreads, stream_of(block),
                   coefficients, second, size);
}

}  // namespace landscape::cuda

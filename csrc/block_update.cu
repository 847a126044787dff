// Subtracting combinations of basis rows from a block.
//
//   y[i, j] -= sum_l c[i, l] basis[l, j]          y: (k, n); c: (k, m) float64; basis: (m, n)
//
// Mapping    block (s, p) owns columns 512 s.. of the rows 8p.. of y; thread t the columns t and
//            t + 256 of all eight rows, in registers. The block's slice of c passes through shared
//            memory, 128 columns of c at a time:
//
//                    l -> 128 at a time            j -> 512
//              c   8 x 128 (shared, broadcast)   basis 128 x 512 (one load serves 8 rows)
//
//            Row groups of one slice of columns are neighbours in the grid: the basis is read from
//            memory once and from the second cache after that.
// Traffic    (m + 2 k) n elements from memory: bandwidth bound up to k of about 8.
// Rounding   float64 fused multiply-adds over l in ascending order, one rounding on store: equal to
//            the bit to the CPU.
// Limits     slices * row groups < 2^31.
// CPU twin   block_update.cpp      Tests   tests/native/test_emulated_kernels.py
#include "kernels.h"
#include "launch.cuh"

namespace landscape::cuda {
namespace {

constexpr int kDepth = 128;  // columns of c in shared memory at a time
constexpr int kColumns = 2;  // columns of y per thread
constexpr int kSlice = kColumns * kThreads;

template <int rows, typename scalar_t>
__global__ void slice_update(scalar_t* __restrict__ y, int64_t y_stride, int64_t k,      // (k, n)
                             const double* __restrict__ c, int64_t c_stride, int64_t m,  // (k, m)
                             const scalar_t* __restrict__ basis, int64_t basis_stride,   // (m, n)
                             int64_t n) {
  __shared__ double factors[kDepth][rows];
  const int64_t groups = (k + rows - 1) / rows, i0 = blockIdx.x % groups * rows;
  const int64_t j0 = blockIdx.x / groups * kSlice + threadIdx.x;

  double value[rows][kColumns];
#pragma unroll
  for (int i = 0; i < rows; ++i) {
#pragma unroll
    for (int q = 0; q < kColumns; ++q) {
      const int64_t j = j0 + q * kThreads;
      value[i][q] = i0 + i < k && j < n ? static_cast<double>(y[(i0 + i) * y_stride + j]) : 0.0;
    }
  }
  for (int64_t first = 0; first < m; first += kDepth) {
    const int depth = static_cast<int>(m - first < kDepth ? m - first : kDepth);
    __syncthreads();  // the factors before are used up
    for (int e = threadIdx.x; e < depth * rows; e += kThreads) {
      const int i = e / depth, l = e % depth;
      factors[l][i] = i0 + i < k ? c[(i0 + i) * c_stride + first + l] : 0.0;
    }
    __syncthreads();
    for (int l = 0; l < depth; ++l) {
      const scalar_t* row = basis + (first + l) * basis_stride;
      double b[kColumns];
#pragma unroll
      for (int q = 0; q < kColumns; ++q) {
        const int64_t j = j0 + q * kThreads;
        b[q] = j < n ? static_cast<double>(row[j]) : 0.0;
      }
#pragma unroll
      for (int i = 0; i < rows; ++i) {
        const double factor = -factors[l][i];
#pragma unroll
        for (int q = 0; q < kColumns; ++q) value[i][q] = fma(factor, b[q], value[i][q]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < rows; ++i) {
#pragma unroll
    for (int q = 0; q < kColumns; ++q) {
      const int64_t j = j0 + q * kThreads;
      if (i0 + i < k && j < n) y[(i0 + i) * y_stride + j] = static_cast<scalar_t>(value[i][q]);
    }
  }
}

template <int rows, typename scalar_t>
void launch_slices(const Matrix& y, const Matrix& c, const Matrix& basis) {
  const int64_t groups = (y.rows + rows - 1) / rows, slices = (y.columns + kSlice - 1) / kSlice;
  LANDSCAPE_LAUNCH((slice_update<rows, scalar_t>), grid(slices * groups), kThreads, stream_of(y),
                   y.as<scalar_t>(), y.stride, y.rows, c.as<double>(), c.stride, c.columns,
                   basis.as<scalar_t>(), basis.stride, y.columns);
}

template <typename scalar_t>
void launch(const Matrix& y, const Matrix& c, const Matrix& basis) {
  const auto slices = y.rows > 4   ? launch_slices<8, scalar_t>
                      : y.rows > 1 ? launch_slices<4, scalar_t>
                                   : launch_slices<1, scalar_t>;
  slices(y, c, basis);
}

}  // namespace

void block_update(const Matrix& y, const Matrix& c, const Matrix& basis) {
  if (y.rows == 0 || y.columns == 0 || basis.rows == 0) return;
  const DeviceGuard guard(y.device);
  (y.scalar == Scalar::float32 ? launch<float> : launch<double>)(y, c, basis);
}

}  // namespace landscape::cuda

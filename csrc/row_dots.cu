// Row-wise inner products of two blocks, accumulated in float64.
//
//   dots[i] = sum_j x[i, j] y[i, j]                       x, y: (k, n)
//
// Mapping    block (i, s) sums chunk s of row i, thread t its columns t, t + 256, ...; a second
//            launch gives a block to each row and adds the row's chunks.
// Traffic    reads 2 k n elements once, writes k * chunks doubles: bandwidth bound.
// Rounding   products and sums in float64, chunks cut by n alone: equal to the bit on repeat and on
//            every GPU.
// Limits     k * chunks < 2^31.
// CPU twin   row_dots.cpp          Tests   tests/native/test_emulated_kernels.py
#include "kernels.h"
#include "reduce.cuh"

namespace landscape::cuda {
namespace {

template <typename scalar_t>
__global__ void chunk_dots(const scalar_t* __restrict__ x, int64_t x_stride,  // (k, n)
                           const scalar_t* __restrict__ y, int64_t y_stride,  // (k, n)
                           int64_t n, int64_t length, int64_t chunks,
                           double* __restrict__ partials) {  // (k, chunks)
  const int64_t row = blockIdx.x / chunks, begin = (blockIdx.x % chunks) * length;
  const int64_t end = begin + length < n ? begin + length : n;
  x += row * x_stride;
  y += row * y_stride;
  double sum[1] = {0.0};
#pragma unroll 4
  for (int64_t j = begin + threadIdx.x; j < end; j += kThreads) {
    sum[0] = fma(static_cast<double>(x[j]), static_cast<double>(y[j]), sum[0]);
  }
  const double total = block_sums(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

template <typename scalar_t>
void launch(const Matrix& x, const Matrix& y, double* dots, double* scratch) {
  const Segments cut = chunks_of(x.columns);
  LANDSCAPE_LAUNCH(chunk_dots<scalar_t>, grid(x.rows * cut.count), kThreads, stream_of(x),
                   x.as<scalar_t>(), x.stride, y.as<scalar_t>(), y.stride, x.columns, cut.length,
                   cut.count, scratch);
  LANDSCAPE_LAUNCH(join_chunks, grid(x.rows), kThreads, stream_of(x), scratch, cut.count, dots);
}

}  // namespace

int64_t row_dots_scratch(int64_t k, int64_t n) { return k * chunks_of(n).count; }

void row_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch) {
  if (x.rows == 0) return;
  const DeviceGuard guard(x.device);
  (x.scalar == Scalar::float32 ? launch<float> : launch<double>)(x, y, dots, scratch);
}

}  // namespace landscape::cuda

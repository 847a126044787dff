// All inner products of two blocks, accumulated in float64.
//
//   dots[i, l] = sum_j x[i, j] y[l, j]                    x: (k, n); y: (m, n)
//
// Mapping    block (s, p, q) works on chunk s of the rows 4p.. of x and 4q.. of y:
//
//                         y rows 4q .. 4q+3
//              x rows     +--+--+--+--+      thread t holds all 16 sums over its columns
//              4p .. 4p+3 |  |  |  |  |      t, t + 256, ...; one step loads 8 numbers for 16
//                         +--+--+--+--+      multiply-adds; then the block adds up its threads
//
//            Tiles of one chunk are neighbours in the grid, so its rows are read from memory once
//            and from the second cache after that. A second launch adds chunks.
// Traffic    (k + m) n elements from memory; m k n / 4 + m k n / 4 from cache.
// Rounding   products and sums in float64, chunks cut by n alone: equal to the bit on repeat and on
//            every GPU.
// Limits     chunks * tiles < 2^31, k * m < 2^31.
// CPU twin   block_dots.cpp        Tests   tests/native/test_emulated_kernels.py
#include "kernels.h"
#include "reduce.cuh"

namespace landscape::cuda {
namespace {

constexpr int kTile = 4;  // columns of the tile of sums; its rows are 1, 2 or 4

// Rows past the last one read the last one again and their sums are dropped.
template <int rows, typename scalar_t>
__global__ void tile_dots(const scalar_t* __restrict__ x, int64_t x_stride, int64_t k,  // (k, n)
                          const scalar_t* __restrict__ y, int64_t y_stride, int64_t m,  // (m, n)
                          int64_t n, int64_t length, int64_t chunks,
                          double* __restrict__ partials) {  // (k, m, chunks)
  const int64_t across = (m + kTile - 1) / kTile, tiles = (k + rows - 1) / rows * across;
  const int64_t chunk = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const int64_t i0 = tile / across * rows, l0 = tile % across * kTile;
  const int64_t begin = chunk * length, end = begin + length < n ? begin + length : n;

  const scalar_t* x_rows[rows];
  const scalar_t* y_rows[kTile];
#pragma unroll
  for (int i = 0; i < rows; ++i) x_rows[i] = x + (i0 + i < k ? i0 + i : k - 1) * x_stride;
#pragma unroll
  for (int l = 0; l < kTile; ++l) y_rows[l] = y + (l0 + l < m ? l0 + l : m - 1) * y_stride;

  double sums[rows * kTile] = {};
  for (int64_t j = begin + threadIdx.x; j < end; j += kThreads) {
    double b[kTile];
#pragma unroll
    for (int l = 0; l < kTile; ++l) b[l] = static_cast<double>(y_rows[l][j]);
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const double a = static_cast<double>(x_rows[i][j]);
#pragma unroll
      for (int l = 0; l < kTile; ++l) sums[i * kTile + l] = fma(a, b[l], sums[i * kTile + l]);
    }
  }
  const double total = block_sums(sums);
  const int64_t i = i0 + threadIdx.x / kTile, l = l0 + threadIdx.x % kTile;
  if (threadIdx.x < rows * kTile && i < k && l < m) partials[(i * m + l) * chunks + chunk] = total;
}

template <int rows, typename scalar_t>
void launch_tiles(const Matrix& x, const Matrix& y, const Segments& cut, double* scratch) {
  const int64_t tiles = (x.rows + rows - 1) / rows * ((y.rows + kTile - 1) / kTile);
  LANDSCAPE_LAUNCH((tile_dots<rows, scalar_t>), grid(cut.count * tiles), kThreads, stream_of(x),
                   x.as<scalar_t>(), x.stride, x.rows, y.as<scalar_t>(), y.stride, y.rows,
                   x.columns, cut.length, cut.count, scratch);
}

template <typename scalar_t>
void launch(const Matrix& x, const Matrix& y, double* dots, double* scratch) {
  const Segments cut = chunks_of(x.columns);
  if (cut.count > 0) {
    const auto tiles = x.rows >= 4   ? launch_tiles<4, scalar_t>
                       : x.rows >= 2 ? launch_tiles<2, scalar_t>
                                     : launch_tiles<1, scalar_t>;
    tiles(x, y, cut, scratch);
  }
  LANDSCAPE_LAUNCH(join_chunks, grid(x.rows * y.rows), kThreads, stream_of(x), scratch, cut.count,
                   dots);
}

}  // namespace

int64_t block_dots_scratch(int64_t k, int64_t m, int64_t n) { return k * m * chunks_of(n).count; }

void block_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch) {
  if (x.rows == 0 || y.rows == 0) return;
  const DeviceGuard guard(x.device);
  (x.scalar == Scalar::float32 ? launch<float> : launch<double>)(x, y, dots, scratch);
}

}  // namespace landscape::cuda

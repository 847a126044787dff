// Sums of squares over the rows of a block, column by column, accumulated in float64.
//
//   sums[j] = sum_kb block[k, b, j]^2                     block: (K, B, n)
//
// Mapping    a block takes 32 neighbouring columns and a chunk of 512 rows; thread (r, j) squares
//            column j of every eighth row, then the eight are added up. A second launch adds the
//            chunks of each column.
// Traffic    K B n elements once: bandwidth bound.
// Rounding   float64, sums in an order fixed by the shapes: equal to the bit on repeat.
// Limits     n / 32 * K B / 512 < 2^31.
// CPU twin   square_sums.cpp       Tests   tests/native/test_emulated_squares.py
#include "kernels.h"
#include "reduce.cuh"

namespace landscape::cuda {
namespace {

constexpr int kColumns = kWarp, kRows = kThreads / kWarp;
constexpr int kRowsInTurn = 512;

template <typename scalar_t>
__global__ void chunk_squares(Tangents block, int64_t chunks, double* __restrict__ partials) {
  __shared__ double sums[kRows][kColumns];
  const int row = static_cast<int>(threadIdx.x) / kWarp,
            lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t chunk = blockIdx.x % chunks, j = blockIdx.x / chunks * kColumns + lane;
  const int64_t rows = block.tangents * block.batch, stop = (chunk + 1) * kRowsInTurn;
  const int64_t end = stop < rows ? stop : rows;
  double sum = 0.0;
  if (j < block.size) {
    for (int64_t r = chunk * kRowsInTurn + row; r < end; r += kRows) {
      sum = plus_square(sum, block.piece<scalar_t>(r / block.batch, r % block.batch)[j]);
    }
  }
  sums[row][lane] = sum;
  __syncthreads();
  if (row > 0 || j >= block.size) return;
  double total = 0.0;
  for (int r = 0; r < kRows; ++r) total += sums[r][lane];
  partials[j * chunks + chunk] = total;
}

int64_t chunks_of_rows(const Tangents& block) {
  return (block.tangents * block.batch + kRowsInTurn - 1) / kRowsInTurn;
}

template <typename scalar_t>
void launch(const Tangents& block, double* sums, double* scratch) {
  const auto stream = static_cast<cudaStream_t>(block.device.stream);
  const int64_t chunks = chunks_of_rows(block), across = (block.size + kColumns - 1) / kColumns;
  if (chunks > 0) {
    LANDSCAPE_LAUNCH(chunk_squares<scalar_t>, grid(across * chunks), kThreads, stream, block,
                     chunks, scratch);
  }
  LANDSCAPE_LAUNCH(join_chunks, grid(block.size), kThreads, stream, scratch, chunks, sums);
}

}  // namespace

int64_t square_sums_scratch(const Tangents& block) { return block.size * chunks_of_rows(block); }

void square_sums(const Tangents& block, double* sums, double* scratch) {
  if (block.size == 0) return;
  const DeviceGuard guard(block.device);
  (block.scalar == Scalar::float32 ? launch<float> : launch<double>)(block, sums, scratch);
}

}  // namespace landscape::cuda

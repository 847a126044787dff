// Sums over the threads of a block, and over the chunks that blocks have summed. Every tree is
// fixed by the number of threads or chunks; there are no atomics.
#pragma once

#include "launch.cuh"

namespace landscape::cuda {
namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

// Sums `count` values (a power of two up to 32) over the lanes of a warp. Each step halves the
// values a lane still carries, so 16 sums take 16 shuffles and not 80.
//
//   lanes 0..15 keep v[0 .. count/2), lanes 16..31 keep v[count/2 .. count), then likewise by
//   8, 4..
//
// Returns the sum of v[lane / (32 / count)].
template <int count, int offset = kWarp / 2>
__device__ double warp_sums(const double (&v)[count]) {
  if constexpr (count == 1) {
    double sum = v[0];
    for (int o = offset; o > 0; o /= 2) sum += __shfl_xor_sync(kAllLanes, sum, o);
    return sum;
  } else {
    constexpr int half = count / 2;
    const bool upper = (threadIdx.x & offset) != 0;
    double kept[half];
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const double given = upper ? v[i] : v[i + half];
      kept[i] = (upper ? v[i + half] : v[i]) + __shfl_xor_sync(kAllLanes, given, offset);
    }
    return warp_sums<half, offset / 2>(kept);
  }
}

// Sums `count` values over the kThreads threads of a block. Thread e < count returns the sum of
// v[e], the others nothing of use. Once per kernel: its shared memory is not released.
template <int count>
__device__ double block_sums(const double (&v)[count]) {
  constexpr int kWarps = kThreads / kWarp, kShare = kWarp / count;
  __shared__ double warps[kWarps][count];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
  const double sum = warp_sums(v);
  if (lane % kShare == 0) warps[thread / kWarp][lane / kShare] = sum;
  __syncthreads();
  double total = 0.0;
  if (thread < count) {
    for (int w = 0; w < kWarps; ++w) total += warps[w][thread];
  }
  return total;
}

// out[e] = sum_s partials[e, s]; one block per element e; partials: (elements, chunks)
__global__ void join_chunks(const double* __restrict__ partials, int64_t chunks,
                            double* __restrict__ out) {
  const double* row = partials + blockIdx.x * chunks;
  double sum[1] = {0.0};
  for (int64_t s = threadIdx.x; s < chunks; s += kThreads) sum[0] += row[s];
  const double total = block_sums(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = total;
}

}  // namespace
}  // namespace landscape::cuda

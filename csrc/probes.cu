// Random signs and Gaussians from counters.
//
//   out[i, j] = f(seed, first_row + i, first_entry + j)       out: (k, n); layout in philox.h
//
// Mapping    signs: a warp owns 32 consecutive counter blocks (4096 entries) of a row. Lane s draws
//            block s; the warp then walks the blocks, lane b writing bit b of the word it is
//            handed:
//
//              lane s:  w0 w1 w2 w3   --shuffle-->   entries 128 s + 32 t + (0 .. 31), one per lane
//
//            normals: a thread draws one counter block and writes its four Gaussians, 16 apart;
//            sixteen threads fill 64 neighbours.
// Traffic    writes k n elements: bandwidth bound (signs), about 60 float64 operations per element
//            (normals).
// Rounding   none; Gaussians use operations that IEEE 754 fixes to the bit (gaussian.h).
// Limits     k * groups < 2^31.
// CPU twin   probes.cpp            Tests   tests/native/test_emulated_kernels.py
#include "gaussian.h"
#include "kernels.h"
#include "launch.cuh"

namespace landscape::cuda {
namespace {

constexpr int kWarp = 32;
constexpr uint64_t kSignGroup = kSignEntries * kThreads;                      // per block
constexpr uint64_t kNormalSlice = kNormalGroup * (kThreads / kNormalBlocks);  // per block

template <typename scalar_t>
__global__ void fill_signs(scalar_t* __restrict__ out, int64_t stride, uint64_t n,  // (k, n)
                           uint64_t seed, uint64_t first_row, uint64_t first_entry,
                           int64_t groups) {
  const int64_t row = blockIdx.x / groups;
  const uint64_t group = first_entry / kSignGroup + blockIdx.x % groups;
  const uint64_t block = group * kThreads + threadIdx.x;
  const Words words = philox(block, first_row + row, seed);
  const unsigned lane = threadIdx.x % kWarp;
  // Entries before the first one wrap around and fail the comparison with n.
  const uint64_t begin = (block - lane) * kSignEntries - first_entry;
  out += row * stride;
  for (int s = 0; s < kWarp; ++s) {
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const uint32_t word = __shfl_sync(0xFFFFFFFFu, words.w[t], s);
      const uint64_t j = begin + s * kSignEntries + t * 32 + lane;
      if (j < n) out[j] = static_cast<scalar_t>(1 - 2 * static_cast<int>((word >> lane) & 1));
    }
  }
}

template <typename scalar_t>
__global__ void fill_normals(scalar_t* __restrict__ out, int64_t stride, uint64_t n,  // (k, n)
                             uint64_t seed, uint64_t first_row, uint64_t first_entry,
                             int64_t groups) {
  const int64_t row = blockIdx.x / groups;
  const uint64_t slice = first_entry / kNormalSlice + blockIdx.x % groups;
  const uint64_t block = slice * kThreads + threadIdx.x;
  const Words words = philox(block | kNormalStream, first_row + row, seed);
  const uint64_t j0 = block / kNormalBlocks * kNormalGroup + block % kNormalBlocks - first_entry;
  out += row * stride;
#pragma unroll
  for (int t = 0; t < 4; t += 2) {
    const Pair pair = gaussian_pair(words.w[t], words.w[t + 1]);
    const uint64_t j = j0 + t * kNormalBlocks, next = j + kNormalBlocks;
    if (j < n) out[j] = static_cast<scalar_t>(pair.first);
    if (next < n) out[next] = static_cast<scalar_t>(pair.second);
  }
}

// Groups of `size` entries that [first, first + n) touches.
int64_t touched(uint64_t first, int64_t n, uint64_t size) {
  return static_cast<int64_t>((first + n - 1) / size - first / size + 1);
}

template <typename scalar_t, typename Kernel>
void launch(Kernel kernel, uint64_t size, const Matrix& out, uint64_t seed, uint64_t first_row,
            uint64_t first_entry) {
  const int64_t groups = touched(first_entry, out.columns, size);
  const DeviceGuard guard(out.device);
  LANDSCAPE_LAUNCH(kernel, grid(out.rows * groups), kThreads, stream_of(out), out.as<scalar_t>(),
                   out.stride, static_cast<uint64_t>(out.columns), seed, first_row, first_entry,
                   groups);
}

}  // namespace

void signs(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
  if (out.rows == 0 || out.columns == 0) return;
  if (out.scalar == Scalar::float32) {
    launch<float>(fill_signs<float>, kSignGroup, out, seed, first_row, first_entry);
  } else {
    launch<double>(fill_signs<double>, kSignGroup, out, seed, first_row, first_entry);
  }
}

void normals(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
  if (out.rows == 0 || out.columns == 0) return;
  if (out.scalar == Scalar::float32) {
    launch<float>(fill_normals<float>, kNormalSlice, out, seed, first_row, first_entry);
  } else {
    launch<double>(fill_normals<double>, kNormalSlice, out, seed, first_row, first_entry);
  }
}

}  // namespace landscape::cuda

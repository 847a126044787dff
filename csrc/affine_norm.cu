// Tangents of a normalisation with given statistics, forwards and backwards.
//
//   affine_norm.h has the arithmetic; blocks: (K, B, C S), primals: (B, C S), coefficients: (C,)
//
// Mapping    forwards: a thread owns one primal element and walks the K tangents of it.
//            backwards: a block of 32 x 8 threads owns 32 neighbours of a piece and 64 samples,
//            each thread every eighth of these, for 4 tangents at a time; the eight rows are joined
//            in shared memory. A second launch gives a block to each channel and tangent and adds
//            positions and groups of samples.
// Traffic    every element of a block once, every primal once (forwards) or K / 4 times, mostly
// from
//            the second cache (backwards): bandwidth bound.
// Rounding   elements equal the CPU's to the bit; sums are float64 in an order fixed by the shapes.
// Limits     K C < 2^30.
// CPU twin   affine_norm.cpp       Tests   tests/native/test_emulated_tangents.py
#include "affine_norm.h"
#include "kernels.h"
#include "reduce.cuh"

namespace landscape::cuda {
namespace {

constexpr int kDown = kThreads / kWarp;  // samples in parallel
constexpr int kSamples = 64;             // per block
constexpr int kTogether = 4;             // tangents per block
static_assert(kDown == 2 * kTogether, "each row of threads joins one of the sums");

template <typename scalar_t>
__global__ void norm_elements(NormTangent of) {
  const int64_t size = of.result.size, e = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (e >= of.result.batch * size) return;
  const int64_t b = e / size, j = e % size, c = j / of.parameters.positions;
  for (int64_t k = 0; k < of.result.tangents; ++k) {
    norm_tangent_step(pieces<scalar_t>(of, k, b), j, coefficients<scalar_t>(of.parameters, k, c));
  }
}

template <typename scalar_t>
__global__ void norm_columns(NormGradientTangent of, int64_t tiles, int64_t groups,
                             double* __restrict__ partials) {  // (2, K, groups, C S)
  __shared__ double sums[kDown][2 * kTogether][kWarp];
  const int64_t size = of.first.size, tangents = of.first.tangents;
  const int64_t tile = blockIdx.x % tiles, group = blockIdx.x / tiles % groups;
  const int64_t k0 = blockIdx.x / tiles / groups * kTogether;
  const int lane = threadIdx.x % kWarp, down = threadIdx.x / kWarp;
  const int64_t j = tile * kWarp + lane;
  const int64_t end =
      (group + 1) * kSamples < of.first.batch ? (group + 1) * kSamples : of.first.batch;
  double weight[kTogether] = {}, bias[kTogether] = {};
  if (j < size) {
    const int64_t c = j / of.parameters.positions;
    for (int64_t b = group * kSamples + down; b < end; b += kDown) {
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        if (k0 + i >= tangents) continue;
        const auto terms = norm_gradient_step(pieces<scalar_t>(of, k0 + i, b), j,
                                              coefficients<scalar_t>(of.parameters, k0 + i, c));
        weight[i] += static_cast<double>(terms.weight);
        bias[i] += static_cast<double>(terms.bias);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kTogether; ++i) {
    sums[down][2 * i][lane] = weight[i];
    sums[down][2 * i + 1][lane] = bias[i];
  }
  __syncthreads();
  const int64_t k = k0 + down / 2, row = down % 2;
  if (j >= size || k >= tangents) return;
  double total = 0.0;
  for (int d = 0; d < kDown; ++d) total += sums[d][down][lane];
  partials[((row * tangents + k) * groups + group) * size + j] = total;
}

// rows[k, c] = factor[c] sum over groups of samples and positions; one block per (k, c)
template <typename scalar_t>
__global__ void norm_rows(const double* __restrict__ partials,  // (K, groups, C S)
                          int64_t groups, int64_t channels, int64_t positions,
                          const scalar_t* __restrict__ factor,  // (C,), or null for ones
                          double* __restrict__ rows) {
  const int64_t k = blockIdx.x / channels, c = blockIdx.x % channels;
  const double* own = partials + k * groups * channels * positions + c * positions;
  double sum[1] = {0.0};
  for (int64_t e = threadIdx.x; e < groups * positions; e += kThreads) {
    sum[0] += own[e / positions * channels * positions + e % positions];
  }
  const double total = block_sums(sum);
  if (threadIdx.x != 0) return;
  rows[blockIdx.x] = factor == nullptr ? total : static_cast<double>(factor[c]) * total;
}

cudaStream_t stream_of(const Tangents& block) {
  return static_cast<cudaStream_t>(block.device.stream);
}

int64_t groups_of(const Tangents& shape) { return (shape.batch + kSamples - 1) / kSamples; }

template <typename scalar_t>
void launch_tangent(const NormTangent& of) {
  const int64_t elements = of.result.batch * of.result.size;
  LANDSCAPE_LAUNCH(norm_elements<scalar_t>, grid((elements + kThreads - 1) / kThreads), kThreads,
                   stream_of(of.result), of);
}

template <typename scalar_t>
void launch_gradient(const NormGradientTangent& of, double* weight_rows, double* bias_rows,
                     double* scratch) {
  const Tangents& shape = of.first;
  const int64_t channels = of.parameters.channels, positions = of.parameters.positions;
  const int64_t tiles = (shape.size + kWarp - 1) / kWarp, groups = groups_of(shape);
  const int64_t together = (shape.tangents + kTogether - 1) / kTogether;
  if (shape.batch * shape.size > 0) {
    LANDSCAPE_LAUNCH(norm_columns<scalar_t>, grid(tiles * groups * together), kThreads,
                     stream_of(shape), of, tiles, groups, scratch);
  }
  const unsigned rows = grid(shape.tangents * channels);
  LANDSCAPE_LAUNCH(norm_rows<scalar_t>, rows, kThreads, stream_of(shape), scratch, groups, channels,
                   positions, of.parameters.scale.as<scalar_t>(), weight_rows);
  LANDSCAPE_LAUNCH(norm_rows<scalar_t>, rows, kThreads, stream_of(shape),
                   scratch + shape.tangents * groups * shape.size, groups, channels, positions,
                   static_cast<const scalar_t*>(nullptr), bias_rows);
}

}  // namespace

void affine_norm_tangent(const NormTangent& of) {
  if (of.result.tangents * of.result.batch * of.result.size == 0) return;
  const DeviceGuard guard(of.result.device);
  (of.result.scalar == Scalar::float32 ? launch_tangent<float> : launch_tangent<double>)(of);
}

int64_t affine_norm_gradient_tangent_scratch(const Tangents& shape) {
  return 2 * shape.tangents * groups_of(shape) * shape.size;
}

void affine_norm_gradient_tangent(const NormGradientTangent& of, double* weight_rows,
                                  double* bias_rows, double* scratch) {
  if (of.first.tangents * of.parameters.channels == 0) return;
  const DeviceGuard guard(of.first.device);
  (of.first.scalar == Scalar::float32
       ? launch_gradient<float>
       : launch_gradient<double>)(of, weight_rows, bias_rows, scratch);
}

}  // namespace landscape::cuda

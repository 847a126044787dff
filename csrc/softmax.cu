// The second derivative of softmax cross-entropy, applied to tangents and as quadratic forms.
//
//   out[k, r] = row_weight[r] p[r] (dot[k, r] - mean),  mean = sum_c p dot     blocks: (K, R, C)
//   forms[k] = sum_r row_weight[r] sum_c p (dot - mean)^2                      p: (R, C)
//
// Mapping    a warp owns a row, for all tangents or for eight of them (forms); its lanes take every
//            32nd column. Blocks of forms own 64 rows; a second launch adds the blocks.
// Traffic    dot twice, the second time from the first cache for rows that fit; out once.
// Rounding   float64 throughout, sums in an order fixed by the shapes; one rounding on store.
// Limits     K R / 64 < 2^31.
// CPU twin   softmax.cpp           Tests   tests/native/test_emulated_tangents.py
#include "kernels.h"
#include "reduce.cuh"
#include "softmax.h"

namespace landscape::cuda {
namespace {

constexpr int kRows = kThreads / kWarp;  // at a time
constexpr int kRowsInTurn = 64;          // of one block of a form
constexpr int kTogether = 8;             // tangents of one block of a form

template <typename scalar_t>
__device__ double row_mean(const scalar_t* p, const scalar_t* dot, int64_t n, int lane) {
  double sum[1] = {0.0};
  for (int64_t j = lane; j < n; j += kWarp) {
    sum[0] += static_cast<double>(p[j]) * static_cast<double>(dot[j]);
  }
  return warp_sums(sum);
}

template <typename scalar_t>
__global__ void softmax_rows(Softmax of) {
  const int lane = threadIdx.x % kWarp;
  const int64_t r = int64_t{blockIdx.x} * kRows + threadIdx.x / kWarp, n = of.dot.size;
  if (r >= of.dot.batch) return;
  const scalar_t* p = of.p.as<scalar_t>() + r * of.p.stride;
  const double weight = of.row_weight.as<scalar_t>()[r];
  for (int64_t k = 0; k < of.dot.tangents; ++k) {
    const scalar_t* dot = of.dot.piece<scalar_t>(k, r);
    scalar_t* out = of.out.piece<scalar_t>(k, r);
    const double mean = row_mean(p, dot, n, lane);
    for (int64_t j = lane; j < n; j += kWarp) {
      out[j] = static_cast<scalar_t>(
          softmax_element(static_cast<double>(p[j]), static_cast<double>(dot[j]), mean, weight));
    }
  }
}

template <typename scalar_t>
__global__ void softmax_forms(Softmax of, int64_t chunks, double* __restrict__ partials) {
  const int lane = threadIdx.x % kWarp;
  const int64_t chunk = blockIdx.x % chunks, k0 = blockIdx.x / chunks * kTogether;
  const int64_t n = of.dot.size, stop = (chunk + 1) * kRowsInTurn;
  const int64_t end = stop < of.dot.batch ? stop : of.dot.batch;
  double sums[kTogether] = {};
  for (int64_t r = chunk * kRowsInTurn + threadIdx.x / kWarp; r < end; r += kRows) {
    const scalar_t* p = of.p.as<scalar_t>() + r * of.p.stride;
    const double weight = of.row_weight.as<scalar_t>()[r];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (k0 + i >= of.dot.tangents) continue;
      const scalar_t* dot = of.dot.piece<scalar_t>(k0 + i, r);
      const double mean = row_mean(p, dot, n, lane);
      double sum = 0.0;
      for (int64_t j = lane; j < n; j += kWarp) {
        sum += softmax_square(static_cast<double>(p[j]), static_cast<double>(dot[j]), mean);
      }
      sums[i] += weight * sum;
    }
  }
  const double total = block_sums(sums);
  const int64_t k = k0 + threadIdx.x;
  if (threadIdx.x < kTogether && k < of.dot.tangents) partials[k * chunks + chunk] = total;
}

cudaStream_t stream_of(const Tangents& block) {
  return static_cast<cudaStream_t>(block.device.stream);
}

int64_t chunks_of_rows(const Tangents& shape) {
  return (shape.batch + kRowsInTurn - 1) / kRowsInTurn;
}

template <typename scalar_t>
void launch_tangent(const Softmax& of) {
  LANDSCAPE_LAUNCH(softmax_rows<scalar_t>, grid((of.dot.batch + kRows - 1) / kRows), kThreads,
                   stream_of(of.dot), of);
}

template <typename scalar_t>
void launch_forms(const Softmax& of, double* forms, double* scratch) {
  const int64_t chunks = chunks_of_rows(of.dot);
  const int64_t together = (of.dot.tangents + kTogether - 1) / kTogether;
  if (chunks > 0) {
    LANDSCAPE_LAUNCH(softmax_forms<scalar_t>, grid(chunks * together), kThreads, stream_of(of.dot),
                     of, chunks, scratch);
  }
  LANDSCAPE_LAUNCH(join_chunks, grid(of.dot.tangents), kThreads, stream_of(of.dot), scratch, chunks,
                   forms);
}

}  // namespace

void softmax_tangent(const Softmax& of) {
  const DeviceGuard guard(of.dot.device);
  (of.dot.scalar == Scalar::float32 ? launch_tangent<float> : launch_tangent<double>)(of);
}

int64_t softmax_quadratic_scratch(const Tangents& shape) {
  return shape.tangents * chunks_of_rows(shape);
}

void softmax_quadratic(const Softmax& of, double* forms, double* scratch) {
  if (of.dot.tangents == 0) return;
  const DeviceGuard guard(of.dot.device);
  (of.dot.scalar == Scalar::float32 ? launch_forms<float> : launch_forms<double>)(of, forms,
                                                                                  scratch);
}

}  // namespace landscape::cuda

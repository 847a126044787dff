// Activation functions: tangents forwards and backwards, and quadratic forms.
//
//   out[k, r, j] = f''(z) weight z_dot + f'(z) delta_dot        z, weight: (R, C)
//   forms[k] = sum_rj weight f''(z) z_dot^2                     blocks: (K, R, C)
//
// Mapping    tangents: a thread owns one primal value and walks the K tangents of it.
//            forms: block (g, s) sums chunk s of the primal values for tangents 8 g..; a second
//            launch gives a block to each tangent and adds the chunks.
// Traffic    every element of a block once; z and weight once, or once per 8 tangents (forms).
// Rounding   tangents equal the CPU's to the bit where that has fused multiply-adds; forms are
//            float64 sums in an order fixed by the shapes.
// Limits     chunks K < 2^31.
// CPU twin   pointwise.cpp         Tests   tests/native/test_emulated_tangents.py
#include "activations.h"
#include "kernels.h"
#include "pointwise.h"
#include "reduce.cuh"

namespace landscape::cuda {
namespace {

constexpr int kTogether = 8;  // tangents per block of a form

template <typename scalar_t>
LANDSCAPE_SHARED Derivatives<scalar_t> derivatives_of(Activation kind, scalar_t z) {
  Derivatives<scalar_t> result{};
  for_activation(kind, [&](auto constant) { result = derivatives<decltype(constant)::value>(z); });
  return result;
}

template <typename scalar_t>
__global__ void activation_elements(Pointwise of) {
  const int64_t size = of.out.size, e = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (e >= of.out.batch * size) return;
  const int64_t row = e / size, j = e % size;
  const Derivatives<scalar_t> d = derivatives_of(of.kind, of.z.as<scalar_t>()[e]);
  const scalar_t bend =
      of.z_dot.data == nullptr ? scalar_t{0} : d.second * of.weight.as<scalar_t>()[e];
  for (int64_t k = 0; k < of.out.tangents; ++k) {
    pointwise_step(PointwisePieces<scalar_t>{of.z_dot.piece<scalar_t>(k, row),
                                             of.delta_dot.piece<scalar_t>(k, row),
                                             of.out.piece<scalar_t>(k, row)},
                   j, d.first, bend);
  }
}

template <typename scalar_t>
__global__ void activation_forms(Pointwise of, int64_t length, int64_t chunks,
                                 double* __restrict__ partials) {  // (K, chunks)
  const int64_t size = of.z_dot.size, tangents = of.z_dot.tangents, total = of.z_dot.batch * size;
  const int64_t chunk = blockIdx.x % chunks, k0 = blockIdx.x / chunks * kTogether;
  const int64_t begin = chunk * length, end = begin + length < total ? begin + length : total;
  double sums[kTogether] = {};
  for (int64_t e = begin + threadIdx.x; e < end; e += kThreads) {
    const int64_t row = e / size, j = e % size;
    const scalar_t bend =
        derivatives_of(of.kind, of.z.as<scalar_t>()[e]).second * of.weight.as<scalar_t>()[e];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (k0 + i >= tangents) continue;
      const scalar_t value = of.z_dot.piece<scalar_t>(k0 + i, row)[j];
      sums[i] += static_cast<double>(bend * (value * value));
    }
  }
  const double sum = block_sums(sums);
  const int64_t k = k0 + threadIdx.x;
  if (threadIdx.x < kTogether && k < tangents) partials[k * chunks + chunk] = sum;
}

cudaStream_t stream_of(const Tangents& block) {
  return static_cast<cudaStream_t>(block.device.stream);
}

template <typename scalar_t>
void launch_tangent(const Pointwise& of) {
  const int64_t elements = of.out.batch * of.out.size;
  LANDSCAPE_LAUNCH(activation_elements<scalar_t>, grid((elements + kThreads - 1) / kThreads),
                   kThreads, stream_of(of.out), of);
}

template <typename scalar_t>
void launch_forms(const Pointwise& of, double* forms, double* scratch) {
  const Tangents& shape = of.z_dot;
  const Segments cut = chunks_of(shape.batch * shape.size);
  const int64_t together = (shape.tangents + kTogether - 1) / kTogether;
  if (cut.count > 0) {
    LANDSCAPE_LAUNCH(activation_forms<scalar_t>, grid(cut.count * together), kThreads,
                     stream_of(shape), of, cut.length, cut.count, scratch);
  }
  LANDSCAPE_LAUNCH(join_chunks, grid(shape.tangents), kThreads, stream_of(shape), scratch,
                   cut.count, forms);
}

}  // namespace

void pointwise_tangent(const Pointwise& of) {
  const DeviceGuard guard(of.out.device);
  (of.out.scalar == Scalar::float32 ? launch_tangent<float> : launch_tangent<double>)(of);
}

int64_t pointwise_quadratic_scratch(const Tangents& shape) {
  return shape.tangents * chunks_of(shape.batch * shape.size).count;
}

void pointwise_quadratic(const Pointwise& of, double* forms, double* scratch) {
  if (of.z_dot.tangents == 0) return;
  const DeviceGuard guard(of.z_dot.device);
  (of.z_dot.scalar == Scalar::float32 ? launch_forms<float> : launch_forms<double>)(of, forms,
                                                                                    scratch);
}

}  // namespace landscape::cuda

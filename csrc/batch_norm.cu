// Batch normalisation by the batch's own statistics: tangents forwards and backwards, and quadratic
// forms.
//
//   normal.h has the arithmetic; blocks: (K, B, C S), primals: (B, C S), statistics: (C,)
//
// Mapping    a block owns a channel of one tangent: its threads take every 256th of the B S
// elements
//            for the sums, then the same ones again. One launch, no scratch; forms leave one number
//            per channel, which a second launch adds.
// Traffic    tangents twice, out once; primal values twice per tangent, mostly from the second
// cache. Rounding   elements in the type of the data; sums float64, of products in float64, in an
// order
//            fixed by the shapes.
// Limits     K C < 2^31.
// CPU twin   batch_norm.cpp        Tests   tests/native/test_emulated_tangents.py
#include "kernels.h"
#include "normal.h"
#include "reduce.cuh"

namespace landscape::cuda {
namespace {

// One channel as one thread of its block sees it: elements e = threadIdx.x, + kThreads, ...
template <typename scalar_t>
struct Channel {
  const BatchNorm& of;
  int64_t k, c, elements;
  scalar_t mean, inverse, weight, weight_dot;

  __device__ Channel(const BatchNorm& of, int64_t batch)
      : of(of),
        k(blockIdx.x / of.channels),
        c(blockIdx.x % of.channels),
        elements(batch * of.positions),
        mean(of.mean.as<scalar_t>()[c]),
        inverse(of.inverse.as<scalar_t>()[c]),
        weight(of.weight.data == nullptr ? scalar_t{1} : of.weight.as<scalar_t>()[c]),
        weight_dot(of_tangent(of.weight_dot)) {}

  __device__ scalar_t of_tangent(const Matrix& rows) const {
    return rows.data == nullptr ? scalar_t{0} : rows.as<scalar_t>()[k * rows.stride + c];
  }
  __device__ scalar_t at(const Matrix& primal, int64_t e) const {
    return primal.as<scalar_t>()[e / of.positions * primal.stride + place(e)];
  }
  __device__ scalar_t at(const Tangents& block, int64_t e) const {
    const scalar_t* piece = block.piece<scalar_t>(k, e / of.positions);
    return piece == nullptr ? scalar_t{0} : piece[place(e)];
  }
  __device__ scalar_t* to(const Tangents& block, int64_t e) const {
    return block.piece<scalar_t>(k, e / of.positions) + place(e);
  }
  __device__ scalar_t normal(int64_t e) const { return (at(of.x, e) - mean) * inverse; }

 private:
  __device__ int64_t place(int64_t e) const { return c * of.positions + e % of.positions; }
};

// sums[i] = sum over the channel of what terms(e, t) leaves in t[i], known to every thread. Once
// per kernel and count.
template <int count, typename scalar_t, typename Terms>
__device__ void channel_sums(const Channel<scalar_t>& own, double (&sums)[count],
                             const Terms& terms) {
  __shared__ double totals[count];
#pragma unroll
  for (int i = 0; i < count; ++i) sums[i] = 0.0;
  for (int64_t e = threadIdx.x; e < own.elements; e += kThreads) {
    double found[count];
    terms(e, found);
#pragma unroll
    for (int i = 0; i < count; ++i) sums[i] += found[i];
  }
  const double total = block_sums(sums);
  if (threadIdx.x < count) totals[threadIdx.x] = total;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < count; ++i) sums[i] = totals[i];
}

template <typename scalar_t>
__global__ void batch_norm_channels(BatchNormTangent of) {
  const Channel<scalar_t> own(of.layer, of.out.batch);
  double sums[2];
  channel_sums(own, sums, [&](int64_t e, double* terms) {
    terms[0] = own.at(of.dot, e);
    terms[1] = terms[0] * own.normal(e);
  });
  const auto mean = static_cast<scalar_t>(sums[0] / own.elements);
  const auto along = static_cast<scalar_t>(sums[1] / own.elements);
  const scalar_t shift = own.of_tangent(of.bias_dot);
  for (int64_t e = threadIdx.x; e < own.elements; e += kThreads) {
    const scalar_t at = own.normal(e);
    const scalar_t moved = centred(own.at(of.dot, e), at, mean, along) * own.inverse;
    *own.to(of.out, e) = moved * own.weight + (at * own.weight_dot + shift);
  }
}

template <typename scalar_t>
__global__ void batch_norm_gradient_channels(BatchNormGradientTangent of,
                                             double* __restrict__ weight_rows,  // (K, C)
                                             double* __restrict__ bias_rows) {  // (K, C)
  const Channel<scalar_t> own(of.layer, of.out.batch);
  double sums[8];
  channel_sums(own, sums, [&](int64_t e, double* terms) {
    const double at = own.normal(e), delta = own.at(of.delta, e);
    terms[0] = own.at(of.delta_dot, e);
    terms[1] = terms[0] * at;
    terms[2] = own.at(of.x_dot, e);
    terms[3] = terms[2] * at;
    terms[4] = terms[2] * delta;
    terms[5] = delta;
    terms[6] = delta * at;
    terms[7] = 0.0;
  });
  const double n = static_cast<double>(own.elements);
  const double mean = sums[5] / n, along = sums[6] / n;
  // sum x' q for q = delta without its mean and its part along the normalised input
  sums[4] -= mean * sums[2] + along * sums[3];
  if (threadIdx.x == 0) {
    weight_rows[blockIdx.x] = own.elements > 0 ? sums[1] + own.inverse * sums[4] : 0.0;
    bias_rows[blockIdx.x] = sums[0];
  }
  const auto c =
      channel_coefficients<scalar_t>(sums, sums + 5, n, own.inverse, own.weight, own.weight_dot);
  for (int64_t e = threadIdx.x; e < own.elements; e += kThreads) {
    const scalar_t at = own.normal(e), delta = own.at(of.delta, e);
    const scalar_t moved = centred(own.at(of.x_dot, e), at, c.mean, c.along) * c.inverse;
    const scalar_t scaled = own.at(of.delta_dot, e) * own.weight + delta * own.weight_dot;
    const scalar_t q =
        centred(delta, at, static_cast<scalar_t>(mean), static_cast<scalar_t>(along)) * own.weight;
    *own.to(of.out, e) = gradient_element(c, scaled, at, moved, q);
  }
}

template <typename scalar_t>
__global__ void batch_norm_forms(BatchNormQuadratic of, double* __restrict__ partials) {  // (K, C)
  const Channel<scalar_t> own(of.layer, of.dot.batch);
  double means[4], sums[2];
  channel_sums(own, means, [&](int64_t e, double* terms) {
    const double at = own.normal(e);
    terms[0] = own.at(of.dot, e);
    terms[1] = terms[0] * at;
    terms[2] = at * at;
    terms[3] = at * own.at(of.adjoint, e);
  });
  const double n = static_cast<double>(own.elements), mean = means[0] / n, along = means[1] / n;
  channel_sums(own, sums, [&](int64_t e, double* terms) {
    const double u = centred(static_cast<double>(own.at(of.dot, e)),
                             static_cast<double>(own.normal(e)), mean, along);
    terms[0] = u * u;
    terms[1] = u * own.at(of.adjoint, e);
  });
  if (threadIdx.x != 0) return;
  partials[blockIdx.x] =
      set_form(own.inverse, along, sums[0] / n, means[2] / n, own.weight * sums[1],
               own.weight * means[3], own.weight_dot * sums[1]);
}

cudaStream_t stream_of(const Tangents& block) {
  return static_cast<cudaStream_t>(block.device.stream);
}

template <typename scalar_t>
void launch_tangent(const BatchNormTangent& of) {
  LANDSCAPE_LAUNCH(batch_norm_channels<scalar_t>, grid(of.out.tangents * of.layer.channels),
                   kThreads, stream_of(of.out), of);
}

template <typename scalar_t>
void launch_gradient(const BatchNormGradientTangent& of, double* weight_rows, double* bias_rows) {
  LANDSCAPE_LAUNCH(batch_norm_gradient_channels<scalar_t>,
                   grid(of.out.tangents * of.layer.channels), kThreads, stream_of(of.out), of,
                   weight_rows, bias_rows);
}

// Channels that leave a number each: none where they have no elements.
int64_t counted(const BatchNormQuadratic& of) {
  return of.dot.batch * of.layer.positions > 0 ? of.layer.channels : 0;
}

template <typename scalar_t>
void launch_forms(const BatchNormQuadratic& of, double* forms, double* scratch) {
  const int64_t channels = counted(of);
  if (channels > 0) {
    LANDSCAPE_LAUNCH(batch_norm_forms<scalar_t>, grid(of.dot.tangents * channels), kThreads,
                     stream_of(of.dot), of, scratch);
  }
  LANDSCAPE_LAUNCH(join_chunks, grid(of.dot.tangents), kThreads, stream_of(of.dot), scratch,
                   channels, forms);
}

}  // namespace

void batch_norm_tangent(const BatchNormTangent& of) {
  const DeviceGuard guard(of.out.device);
  (of.out.scalar == Scalar::float32 ? launch_tangent<float> : launch_tangent<double>)(of);
}

void batch_norm_gradient_tangent(const BatchNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows) {
  if (of.out.tangents * of.layer.channels == 0) return;
  const DeviceGuard guard(of.out.device);
  (of.out.scalar == Scalar::float32 ? launch_gradient<float>
                                    : launch_gradient<double>)(of, weight_rows, bias_rows);
}

int64_t batch_norm_quadratic_scratch(const BatchNormQuadratic& of) {
  return of.dot.tangents * counted(of);
}

void batch_norm_quadratic(const BatchNormQuadratic& of, double* forms, double* scratch) {
  if (of.dot.tangents == 0) return;
  const DeviceGuard guard(of.dot.device);
  (of.dot.scalar == Scalar::float32 ? launch_forms<float> : launch_forms<double>)(of, forms,
                                                                                  scratch);
}

}  // namespace landscape::cuda

// Layer normalisation: tangents forwards and backwards, and quadratic forms.
//
//   normal.h has the arithmetic; blocks: (K, R, C), primals: (R, C), statistics: (R,)
//
// Mapping    a warp owns a row, for all tangents or for eight of them (forms); its lanes take every
//            32nd column. Sums over rows, backwards: a block of 32 x 8 threads owns 32 columns and
//            64 rows, each thread every eighth of these, for 4 tangents at a time, with what the
//            first launch left of each row; a third launch adds the groups of rows.
// Traffic    forwards and forms: tangents twice, the second time from the first cache for rows that
//            fit, out once. Backwards: both tangents once more for the sums over rows.
// Rounding   elements in the type of the data, sums float64 in an order fixed by the shapes.
// Limits     K R / 64 < 2^31.
// CPU twin   layer_norm.cpp        Tests   tests/native/test_emulated_tangents.py
#include "kernels.h"
#include "layer_norm.cuh"
#include "normal.h"

namespace landscape::cuda {
namespace {

constexpr int kDown = kThreads / kWarp;  // rows at a time
constexpr int kRowsInTurn = 64;          // of one block of a form, or of sums over rows
constexpr int kFormsTogether = 8;        // tangents of one block of a form
constexpr int kTogether = 4;             // tangents of one block of sums over rows
static_assert(kDown == 2 * kTogether, "each row of threads joins one of the sums");

template <typename scalar_t>
__global__ void layer_norm_rows(LayerNormTangent of) {
  const int64_t r = int64_t{blockIdx.x} * kDown + threadIdx.x / kWarp, n = of.out.size;
  if (r >= of.out.batch) return;
  const LayerRow<scalar_t> row(of.layer, r);
  for (int64_t k = 0; k < of.out.tangents; ++k) {
    const scalar_t* dot = of.dot.piece<scalar_t>(k, r);
    const scalar_t* weight_dot = row_of<scalar_t>(of.layer.weight_dot, k);
    const scalar_t* bias_dot = row_of<scalar_t>(of.bias_dot, k);
    scalar_t* out = of.out.piece<scalar_t>(k, r);
    double means[2];
    row_means(row, dot, n, means);
    const auto mean = static_cast<scalar_t>(means[0]), along = static_cast<scalar_t>(means[1]);
    for (int64_t j = threadIdx.x % kWarp; j < n; j += kWarp) {
      const scalar_t at = row.normal(j);
      const scalar_t moved = centred(entry(dot, j, scalar_t{0}), at, mean, along) * row.inverse;
      out[j] = moved * row.gain(j) +
               (at * entry(weight_dot, j, scalar_t{0}) + entry(bias_dot, j, scalar_t{0}));
    }
  }
}

template <typename scalar_t>
__global__ void layer_norm_gradient_rows(LayerNormGradientTangent of,
                                         double* __restrict__ means_of_x_dot) {  // (2, K, R)
  const int64_t r = int64_t{blockIdx.x} * kDown + threadIdx.x / kWarp, n = of.out.size;
  const int lane = threadIdx.x % kWarp;
  if (r >= of.out.batch) return;
  const LayerRow<scalar_t> row(of.layer, r);
  const scalar_t* delta = row_of<scalar_t>(of.delta, r);
  double own[2];
  row_sums<scalar_t>(n, own, [&](int64_t j, auto& terms) {
    terms[0] = delta[j] * row.gain(j);
    terms[1] = terms[0] * row.normal(j);
  });
  const auto own_mean = static_cast<scalar_t>(own[0] / n);
  const auto own_along = static_cast<scalar_t>(own[1] / n);
  for (int64_t k = 0; k < of.out.tangents; ++k) {
    const scalar_t* delta_dot = of.delta_dot.piece<scalar_t>(k, r);
    const scalar_t* x_dot = of.x_dot.piece<scalar_t>(k, r);
    const scalar_t* weight_dot = row_of<scalar_t>(of.layer.weight_dot, k);
    scalar_t* out = of.out.piece<scalar_t>(k, r);
    const auto scaled = [&](int64_t j) {
      return entry(delta_dot, j, scalar_t{0}) * row.gain(j) +
             delta[j] * entry(weight_dot, j, scalar_t{0});
    };
    const auto q = [&](int64_t j) {
      return centred(delta[j] * row.gain(j), row.normal(j), own_mean, own_along);
    };
    double m[5];
    row_sums<scalar_t>(n, m, [&](int64_t j, auto& terms) {
      const scalar_t at = row.normal(j);
      terms[0] = scaled(j);
      terms[1] = terms[0] * at;
      terms[2] = entry(x_dot, j, scalar_t{0});
      terms[3] = terms[2] * at;
      terms[4] = terms[2] * q(j);
    });
    for (double& mean : m) mean /= n;
    const auto c =
        gradient_coefficients<scalar_t>({m[0], m[1], m[2], m[3], m[4]}, row.inverse, own[1] / n);
    for (int64_t j = lane; j < n; j += kWarp) {
      const scalar_t at = row.normal(j);
      const scalar_t moved = centred(entry(x_dot, j, scalar_t{0}), at, c.mean, c.along) * c.inverse;
      out[j] = gradient_element(c, scaled(j), at, moved, q(j));
    }
    if (lane == 0) {
      means_of_x_dot[k * of.out.batch + r] = m[2];
      means_of_x_dot[(of.out.tangents + k) * of.out.batch + r] = m[3];
    }
  }
}

template <typename scalar_t>
__global__ void layer_norm_columns(LayerNormGradientTangent of,
                                   const double* __restrict__ means_of_x_dot,  // (2, K, R)
                                   int64_t tiles, int64_t groups,
                                   double* __restrict__ partials) {  // (2, K, groups, C)
  __shared__ double sums[kDown][2 * kTogether][kWarp];
  const int64_t n = of.out.size, tangents = of.out.tangents, rows = of.out.batch;
  const int64_t tile = blockIdx.x % tiles, group = blockIdx.x / tiles % groups;
  const int64_t k0 = blockIdx.x / tiles / groups * kTogether;
  const int lane = threadIdx.x % kWarp, down = threadIdx.x / kWarp;
  const int64_t j = tile * kWarp + lane;
  const int64_t end = (group + 1) * kRowsInTurn < rows ? (group + 1) * kRowsInTurn : rows;
  double weight[kTogether] = {}, bias[kTogether] = {};
  for (int64_t r = group * kRowsInTurn + down; j < n && r < end; r += kDown) {
    const LayerRow<scalar_t> row(of.layer, r);
    const scalar_t at = row.normal(j), delta = row_of<scalar_t>(of.delta, r)[j];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (k0 + i >= tangents) continue;
      const auto mean = static_cast<scalar_t>(means_of_x_dot[(k0 + i) * rows + r]);
      const auto along = static_cast<scalar_t>(means_of_x_dot[(tangents + k0 + i) * rows + r]);
      const scalar_t moved =
          centred(entry(of.x_dot.piece<scalar_t>(k0 + i, r), j, scalar_t{0}), at, mean, along) *
          row.inverse;
      const scalar_t arriving = entry(of.delta_dot.piece<scalar_t>(k0 + i, r), j, scalar_t{0});
      weight[i] += static_cast<double>(arriving * at + delta * moved);
      bias[i] += static_cast<double>(arriving);
    }
  }
#pragma unroll
  for (int i = 0; i < kTogether; ++i) {
    sums[down][2 * i][lane] = weight[i];
    sums[down][2 * i + 1][lane] = bias[i];
  }
  __syncthreads();
  const int64_t k = k0 + down / 2, which = down % 2;
  if (j >= n || k >= tangents) return;
  double total = 0.0;
  for (int d = 0; d < kDown; ++d) total += sums[d][down][lane];
  partials[((which * tangents + k) * groups + group) * n + j] = total;
}

// rows[k, c] = sum over groups; a thread per (k, c)
__global__ void join_groups(const double* __restrict__ partials,  // (K, groups, C)
                            int64_t tangents, int64_t groups, int64_t columns,
                            double* __restrict__ rows) {
  const int64_t e = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (e >= tangents * columns) return;
  const double* own = partials + e / columns * groups * columns + e % columns;
  double total = 0.0;
  for (int64_t g = 0; g < groups; ++g) total += own[g * columns];
  rows[e] = total;
}

template <typename scalar_t>
__global__ void layer_norm_forms(LayerNormQuadratic of, int64_t chunks,
                                 double* __restrict__ partials) {  // (K, chunks)
  const int64_t chunk = blockIdx.x % chunks, k0 = blockIdx.x / chunks * kFormsTogether;
  const int64_t n = of.dot.size, stop = (chunk + 1) * kRowsInTurn;
  const int64_t end = stop < of.dot.batch ? stop : of.dot.batch;
  double forms[kFormsTogether] = {};
  for (int64_t r = chunk * kRowsInTurn + threadIdx.x / kWarp; r < end; r += kDown) {
    const LayerRow<scalar_t> row(of.layer, r);
    const scalar_t* adjoint = row_of<scalar_t>(of.adjoint, r);
    double own[2];
    row_sums<scalar_t>(n, own, [&](int64_t j, auto& terms) {
      terms[0] = row.normal(j) * row.normal(j);
      terms[1] = row.normal(j) * (adjoint[j] * row.gain(j));
    });
#pragma unroll
    for (int i = 0; i < kFormsTogether; ++i) {
      if (k0 + i >= of.dot.tangents) continue;
      const scalar_t* dot = of.dot.piece<scalar_t>(k0 + i, r);
      const scalar_t* weight_dot = row_of<scalar_t>(of.layer.weight_dot, k0 + i);
      double means[2], sums[3];
      row_means(row, dot, n, means);
      const auto mean = static_cast<scalar_t>(means[0]), along = static_cast<scalar_t>(means[1]);
      row_sums<scalar_t>(n, sums, [&](int64_t j, auto& terms) {
        const scalar_t u = centred(dot[j], row.normal(j), mean, along);
        terms[0] = u * u;
        terms[1] = u * (adjoint[j] * row.gain(j));
        terms[2] = u * (adjoint[j] * entry(weight_dot, j, scalar_t{0}));
      });
      forms[i] +=
          set_form(row.inverse, means[1], sums[0] / n, own[0] / n, sums[1], own[1], sums[2]);
    }
  }
  // Every lane of a warp holds the same sums.
  if (threadIdx.x % kWarp != 0) {
    for (double& form : forms) form = 0.0;
  }
  const double total = block_sums(forms);
  const int64_t k = k0 + threadIdx.x;
  if (threadIdx.x < kFormsTogether && k < of.dot.tangents) partials[k * chunks + chunk] = total;
}

cudaStream_t stream_of(const Tangents& block) {
  return static_cast<cudaStream_t>(block.device.stream);
}

int64_t groups_of(const Tangents& shape) { return (shape.batch + kRowsInTurn - 1) / kRowsInTurn; }

template <typename scalar_t>
void launch_tangent(const LayerNormTangent& of) {
  LANDSCAPE_LAUNCH(layer_norm_rows<scalar_t>, grid((of.out.batch + kDown - 1) / kDown), kThreads,
                   stream_of(of.out), of);
}

template <typename scalar_t>
void launch_gradient(const LayerNormGradientTangent& of, double* weight_rows, double* bias_rows,
                     double* scratch) {
  const Tangents& shape = of.out;
  const int64_t tangents = shape.tangents, groups = groups_of(shape);
  const int64_t tiles = (shape.size + kWarp - 1) / kWarp;
  const int64_t together = (tangents + kTogether - 1) / kTogether;
  double* partials = scratch + 2 * tangents * shape.batch;
  if (shape.batch > 0) {
    LANDSCAPE_LAUNCH(layer_norm_gradient_rows<scalar_t>, grid((shape.batch + kDown - 1) / kDown),
                     kThreads, stream_of(shape), of, scratch);
    LANDSCAPE_LAUNCH(layer_norm_columns<scalar_t>, grid(tiles * groups * together), kThreads,
                     stream_of(shape), of, scratch, tiles, groups, partials);
  }
  const unsigned blocks = grid((tangents * shape.size + kThreads - 1) / kThreads);
  LANDSCAPE_LAUNCH(join_groups, blocks, kThreads, stream_of(shape), partials, tangents, groups,
                   shape.size, weight_rows);
  LANDSCAPE_LAUNCH(join_groups, blocks, kThreads, stream_of(shape),
                   partials + tangents * groups * shape.size, tangents, groups, shape.size,
                   bias_rows);
}

template <typename scalar_t>
void launch_forms(const LayerNormQuadratic& of, double* forms, double* scratch) {
  const int64_t chunks = of.dot.size > 0 ? groups_of(of.dot) : 0;
  const int64_t together = (of.dot.tangents + kFormsTogether - 1) / kFormsTogether;
  if (chunks > 0) {
    LANDSCAPE_LAUNCH(layer_norm_forms<scalar_t>, grid(chunks * together), kThreads,
                     stream_of(of.dot), of, chunks, scratch);
  }
  LANDSCAPE_LAUNCH(join_chunks, grid(of.dot.tangents), kThreads, stream_of(of.dot), scratch, chunks,
                   forms);
}

}  // namespace

void layer_norm_tangent(const LayerNormTangent& of) {
  const DeviceGuard guard(of.out.device);
  (of.out.scalar == Scalar::float32 ? launch_tangent<float> : launch_tangent<double>)(of);
}

int64_t layer_norm_gradient_tangent_scratch(const Tangents& shape) {
  return 2 * shape.tangents * (shape.batch + groups_of(shape) * shape.size);
}

void layer_norm_gradient_tangent(const LayerNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows, double* scratch) {
  if (of.out.tangents * of.out.size == 0) return;
  const DeviceGuard guard(of.out.device);
  (of.out.scalar == Scalar::float32 ? launch_gradient<float>
                                    : launch_gradient<double>)(of, weight_rows, bias_rows, scratch);
}

int64_t layer_norm_quadratic_scratch(const Tangents& shape) {
  return shape.tangents * groups_of(shape);
}

void layer_norm_quadratic(const LayerNormQuadratic& of, double* forms, double* scratch) {
  if (of.dot.tangents == 0) return;
  const DeviceGuard guard(of.dot.device);
  (of.dot.scalar == Scalar::float32 ? launch_forms<float> : launch_forms<double>)(of, forms,
                                                                                  scratch);
}

}  // namespace landscape::cuda

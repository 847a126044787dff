#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

// body(first channel, last channel, room for their sums) for all channels; few at a time, so that
// the second pass finds their tangents in cache.
template <typename Body>
void for_each_channels(const BatchNorm& of, const Tangents& shape, const Body& body) {
  constexpr int64_t kElements = 512;
  if (of.channels == 0) return;
  const int64_t wanted = std::max<int64_t>(1, kElements / std::max<int64_t>(1, of.positions));
  const int64_t together = std::min(wanted, of.channels);
  const int64_t tasks = (of.channels + together - 1) / together;
  const int threads = static_cast<int>(
      std::min<int64_t>(tasks, cpu::threads_for(shape.tangents * shape.batch * shape.size)));
  const int64_t sums = together * (shape.tangents + 1) * cpu::kBatchNormSums * cpu::kLanes;
  std::vector<std::vector<double>> rooms(threads, std::vector<double>(sums));
  cpu::for_each_task(tasks, threads, [&](int64_t task, int thread) {
    body(task * together, std::min(of.channels, (task + 1) * together), rooms[thread].data());
  });
}

template <typename scalar_t>
void tangent_on_cpu(const BatchNormTangent& of) {
  for_each_channels(of.layer, of.out, [&](int64_t first, int64_t last, double* sums) {
    cpu::kernels<scalar_t>().batch_norm_tangent(of, first, last, sums);
  });
}

template <typename scalar_t>
void gradient_on_cpu(const BatchNormGradientTangent& of, double* weight_rows, double* bias_rows) {
  if (of.out.batch * of.out.size == 0) {
    const int64_t size = of.out.tangents * of.layer.channels;
    std::fill(weight_rows, weight_rows + size, 0.0);
    std::fill(bias_rows, bias_rows + size, 0.0);
    return;
  }
  for_each_channels(of.layer, of.out, [&](int64_t first, int64_t last, double* sums) {
    cpu::kernels<scalar_t>().batch_norm_gradient(of, first, last, weight_rows, bias_rows, sums);
  });
}

template <typename scalar_t>
void quadratic_on_cpu(const BatchNormQuadratic& of, double* forms) {
  const int64_t tangents = of.dot.tangents, channels = of.layer.channels;
  std::fill(forms, forms + tangents, 0.0);
  if (of.dot.batch * of.dot.size == 0) return;
  std::vector<double> partials(tangents * channels);
  for_each_channels(of.layer, of.dot, [&](int64_t first, int64_t last, double* sums) {
    cpu::kernels<scalar_t>().batch_norm_form(of, first, last, partials.data(), sums);
  });
  for (int64_t k = 0; k < tangents; ++k) {
    for (int64_t c = 0; c < channels; ++c) forms[k] += partials[k * channels + c];
  }
}

}  // namespace

void batch_norm_tangent(const BatchNormTangent& of) {
  if (of.out.tangents * of.out.batch * of.out.size == 0) return;
  if constexpr (cuda::kBuilt) {
    if (of.out.device.cuda) return cuda::batch_norm_tangent(of);
  }
  (of.out.scalar == Scalar::float32 ? tangent_on_cpu<float> : tangent_on_cpu<double>)(of);
}

void batch_norm_gradient_tangent(const BatchNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows) {
  if constexpr (cuda::kBuilt) {
    if (of.out.device.cuda) return cuda::batch_norm_gradient_tangent(of, weight_rows, bias_rows);
  }
  (of.out.scalar == Scalar::float32 ? gradient_on_cpu<float>
                                    : gradient_on_cpu<double>)(of, weight_rows, bias_rows);
}

int64_t batch_norm_quadratic_scratch(const BatchNormQuadratic& of) {
  if constexpr (cuda::kBuilt) {
    if (of.dot.device.cuda) return cuda::batch_norm_quadratic_scratch(of);
  }
  return 0;
}

void batch_norm_quadratic(const BatchNormQuadratic& of, double* forms, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (of.dot.device.cuda) return cuda::batch_norm_quadratic(of, forms, scratch);
  }
  (of.dot.scalar == Scalar::float32 ? quadratic_on_cpu<float> : quadratic_on_cpu<double>)(of,
                                                                                          forms);
}

}  // namespace landscape

#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t>
void on_cpu(const Matrix& x, const Matrix& y, double* dots) {
  const auto dot = cpu::kernels<scalar_t>().dot;
  const Segments cut = cpu::segments(x.columns);
  const auto partial = [&](int64_t i, int64_t s) {
    const int64_t begin = cut.begin(s);
    return dot(x.as<scalar_t>() + i * x.stride + begin, y.as<scalar_t>() + i * y.stride + begin,
               cut.end(s) - begin);
  };
  if (cut.count <= 1) {
    cpu::for_each_task(x.rows, cpu::threads_for(x.rows * x.columns),
                       [&](int64_t i, int) { dots[i] = partial(i, 0); });
    return;
  }
  std::vector<double> partials(x.rows * cut.count);
  cpu::for_each_task(
      x.rows * cut.count, cpu::threads_for(x.rows * x.columns),
      [&](int64_t task, int) { partials[task] = partial(task / cut.count, task % cut.count); });
  for (int64_t i = 0; i < x.rows; ++i) {
    double sum = 0.0;
    for (int64_t s = 0; s < cut.count; ++s) sum += partials[i * cut.count + s];
    dots[i] = sum;
  }
}

}  // namespace

int64_t row_dots_scratch(const Matrix& x, const Matrix&) {
  if constexpr (cuda::kBuilt) {
    if (x.device.cuda) return cuda::row_dots_scratch(x.rows, x.columns);
  }
  return 0;
}

void row_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (x.device.cuda) return cuda::row_dots(x, y, dots, scratch);
  }
  (x.scalar == Scalar::float32 ? on_cpu<float> : on_cpu<double>)(x, y, dots);
}

}  // namespace landscape

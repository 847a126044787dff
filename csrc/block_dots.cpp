#include "cpu/sweep.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t>
void on_cpu(const Matrix& x, const Matrix& y, double* dots) {
  for_each_panel(x, cpu::panel_rows(y.rows), [&](const Matrix& panel, int64_t first) {
    cpu::sweep<scalar_t>(panel, nullptr, y, dots + first * y.rows);
  });
}

}  // namespace

int64_t block_dots_scratch(const Matrix& x, const Matrix& y) {
  if constexpr (cuda::kBuilt) {
    if (x.device.cuda) return cuda::block_dots_scratch(x.rows, y.rows, x.columns);
  }
  return 0;
}

void block_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (x.device.cuda) return cuda::block_dots(x, y, dots, scratch);
  }
  (x.scalar == Scalar::float32 ? on_cpu<float> : on_cpu<double>)(x, y, dots);
}

}  // namespace landscape

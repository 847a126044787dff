#include "cpu/sweep.h"
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

void block_dots(const Matrix& x, const Matrix& y, double* dots) {
  (x.scalar == Scalar::float32 ? on_cpu<float> : on_cpu<double>)(x, y, dots);
}

}  // namespace landscape

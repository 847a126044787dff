#include <vector>

#include "cpu/sweep.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t>
void on_cpu(const Matrix& y, const Matrix& c, const Matrix& basis) {
  for_each_panel(y, cpu::panel_rows(basis.rows), [&](const Matrix& panel, int64_t first) {
    std::vector<double> adjacent(panel.rows * c.columns);
    for (int64_t i = 0; i < panel.rows; ++i) {
      const double* row = c.as<double>() + (first + i) * c.stride;
      std::copy(row, row + c.columns, adjacent.begin() + i * c.columns);
    }
    cpu::sweep<scalar_t>(panel, adjacent.data(), basis, nullptr);
  });
}

}  // namespace

void block_update(const Matrix& y, const Matrix& c, const Matrix& basis) {
  if constexpr (cuda::kBuilt) {
    if (y.device.cuda) return cuda::block_update(y, c, basis);
  }
  (y.scalar == Scalar::float32 ? on_cpu<float> : on_cpu<double>)(y, c, basis);
}

}  // namespace landscape

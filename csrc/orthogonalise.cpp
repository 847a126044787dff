#include <vector>

#include "cpu/sweep.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t>
void on_cpu(const Matrix& block, const Matrix& basis, double* coefficients) {
  for_each_panel(block, cpu::panel_rows(basis.rows), [&](const Matrix& panel, int64_t first) {
    double* total = coefficients + first * basis.rows;
    std::vector<double> second(panel.rows * basis.rows);
    cpu::sweep<scalar_t>(panel, nullptr, basis, total);
    cpu::sweep<scalar_t>(panel, total, basis, second.data());
    cpu::sweep<scalar_t>(panel, second.data(), basis, nullptr);
    for (size_t e = 0; e < second.size(); ++e) total[e] += second[e];
  });
}

}  // namespace

int64_t orthogonalise_scratch(const Matrix& block, const Matrix& basis) {
  if constexpr (cuda::kBuilt) {
    if (block.device.cuda)
      return cuda::orthogonalise_scratch(block.rows, basis.rows, block.columns);
  }
  return 0;
}

void orthogonalise(const Matrix& block, const Matrix& basis, double* coefficients,
                   double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (block.device.cuda) return cuda::orthogonalise(block, basis, coefficients, scratch);
  }
  (block.scalar == Scalar::float32 ? on_cpu<float> : on_cpu<double>)(block, basis, coefficients);
}

}  // namespace landscape

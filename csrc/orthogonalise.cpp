#include <vector>

#include "ops.h"

namespace landscape {

void orthogonalise(const Matrix& block, const Matrix& basis, double* coefficients) {
  const int64_t size = block.rows * basis.rows;
  std::vector<double> second(size);
  const auto as_matrix = [&](double* data) {
    return Matrix{data, block.rows, basis.rows, basis.rows, Scalar::float64, block.device};
  };
  block_dots(block, basis, coefficients);
  block_update(block, as_matrix(coefficients), basis);
  block_dots(block, basis, second.data());
  block_update(block, as_matrix(second.data()), basis);
  for (int64_t e = 0; e < size; ++e) coefficients[e] += second[e];
}

}  // namespace landscape

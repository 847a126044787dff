#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t>
void run(const Matrix& y, const Matrix& c, const Matrix& basis) {
#pragma omp parallel for
  for (int64_t j = 0; j < y.columns; ++j) {
    for (int64_t i = 0; i < y.rows; ++i) {
      double value = y.as<scalar_t>()[i * y.stride + j];
      for (int64_t l = 0; l < basis.rows; ++l) {
        value -= c.as<double>()[i * c.stride + l] *
                 double(basis.as<scalar_t>()[l * basis.stride + j]);
      }
      y.as<scalar_t>()[i * y.stride + j] = static_cast<scalar_t>(value);
    }
  }
}

}  // namespace

void block_update(const Matrix& y, const Matrix& c, const Matrix& basis) {
  (y.scalar == Scalar::float32 ? run<float> : run<double>)(y, c, basis);
}

}  // namespace landscape

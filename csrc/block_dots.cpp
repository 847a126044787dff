#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t>
void run(const Matrix& x, const Matrix& y, double* dots) {
#pragma omp parallel for
  for (int64_t pair = 0; pair < x.rows * y.rows; ++pair) {
    const scalar_t* a = x.as<scalar_t>() + (pair / y.rows) * x.stride;
    const scalar_t* b = y.as<scalar_t>() + (pair % y.rows) * y.stride;
    double sum = 0.0;
    for (int64_t j = 0; j < x.columns; ++j) sum += double(a[j]) * double(b[j]);
    dots[pair] = sum;
  }
}

}  // namespace

void block_dots(const Matrix& x, const Matrix& y, double* dots) {
  (x.scalar == Scalar::float32 ? run<float> : run<double>)(x, y, dots);
}

}  // namespace landscape

#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t>
void run(const Matrix& x, const Matrix& y, double* dots) {
#pragma omp parallel for
  for (int64_t i = 0; i < x.rows; ++i) {
    const scalar_t* a = x.as<scalar_t>() + i * x.stride;
    const scalar_t* b = y.as<scalar_t>() + i * y.stride;
    double sum = 0.0;
    for (int64_t j = 0; j < x.columns; ++j) sum += double(a[j]) * double(b[j]);
    dots[i] = sum;
  }
}

}  // namespace

void row_dots(const Matrix& x, const Matrix& y, double* dots) {
  (x.scalar == Scalar::float32 ? run<float> : run<double>)(x, y, dots);
}

}  // namespace landscape

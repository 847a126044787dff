#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

// body(task, first row, last row) for groups of rows, cut by the shape alone
template <typename Body>
void for_each_group(const Tangents& shape, int64_t together, const Body& body) {
  cpu::for_each_task((shape.batch + together - 1) / together,
                     cpu::threads_for(shape.tangents * shape.batch * shape.size),
                     [&](int64_t task, int) {
                       body(task, task * together, std::min(shape.batch, (task + 1) * together));
                     });
}

int64_t rows_together(const Tangents& shape) {
  constexpr int64_t kElements = 1024;
  return std::max<int64_t>(1, kElements / std::max<int64_t>(1, shape.size));
}

template <typename scalar_t>
void tangent_on_cpu(const Softmax& of) {
  const auto row = cpu::kernels<scalar_t>().softmax_row;
  const auto* weight = of.row_weight.as<scalar_t>();
  for_each_group(of.dot, rows_together(of.dot), [&](int64_t, int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const scalar_t* p = of.p.as<scalar_t>() + r * of.p.stride;
      for (int64_t k = 0; k < of.dot.tangents; ++k) {
        row(p, of.dot.piece<scalar_t>(k, r), weight[r], of.out.piece<scalar_t>(k, r), of.dot.size);
      }
    }
  });
}

template <typename scalar_t>
void quadratic_on_cpu(const Softmax& of, double* forms) {
  const auto spread = cpu::kernels<scalar_t>().softmax_spread;
  const auto* weight = of.row_weight.as<scalar_t>();
  const int64_t tangents = of.dot.tangents, together = rows_together(of.dot);
  std::vector<double> partials((of.dot.batch + together - 1) / together * tangents);
  for_each_group(of.dot, together, [&](int64_t task, int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const scalar_t* p = of.p.as<scalar_t>() + r * of.p.stride;
      for (int64_t k = 0; k < tangents; ++k) {
        partials[task * tangents + k] +=
            weight[r] * spread(p, of.dot.piece<scalar_t>(k, r), of.dot.size);
      }
    }
  });
  std::fill(forms, forms + tangents, 0.0);
  for (size_t e = 0; e < partials.size(); ++e) forms[e % tangents] += partials[e];
}

}  // namespace

void softmax_tangent(const Softmax& of) {
  if (of.dot.tangents * of.dot.batch * of.dot.size == 0) return;
  if constexpr (cuda::kBuilt) {
    if (of.dot.device.cuda) return cuda::softmax_tangent(of);
  }
  (of.dot.scalar == Scalar::float32 ? tangent_on_cpu<float> : tangent_on_cpu<double>)(of);
}

int64_t softmax_quadratic_scratch(const Softmax& of) {
  if constexpr (cuda::kBuilt) {
    if (of.dot.device.cuda) return cuda::softmax_quadratic_scratch(of.dot);
  }
  return 0;
}

void softmax_quadratic(const Softmax& of, double* forms, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (of.dot.device.cuda) return cuda::softmax_quadratic(of, forms, scratch);
  }
  (of.dot.scalar == Scalar::float32 ? quadratic_on_cpu<float> : quadratic_on_cpu<double>)(of,
                                                                                          forms);
}

}  // namespace landscape

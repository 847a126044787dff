#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

// How rows are shared between threads; by the shape alone.
struct Groups {
  int64_t rows, length, count;

  // Groups of about `elements` primal values, at most `most` of them.
  Groups(const Tangents& shape, int64_t elements, int64_t most = INT64_MAX) : rows(shape.batch) {
    const int64_t by_size = elements / std::max<int64_t>(1, shape.size);
    length = std::max({int64_t{1}, by_size, (rows - 1) / most + 1});
    count = (rows + length - 1) / length;
  }
};

constexpr int64_t kElements = 4096;
constexpr int64_t kMostGroups = 32;  // where every group has sums of its own
constexpr int64_t kFewestRows = 32;  // of such a group, or joining them costs more than they do
constexpr int64_t kRowsInTurn = 64;  // whose terms are added up in the data's type

// body(group, first row, last row, thread) for all groups
template <typename Body>
void for_each_group(const Tangents& shape, const Groups& groups, int threads, const Body& body) {
  cpu::for_each_task(groups.count, threads, [&](int64_t group, int thread) {
    const int64_t first = group * groups.length;
    body(group, first, std::min(shape.batch, first + groups.length), thread);
  });
}

int threads_of(const Tangents& shape, const Groups& groups) {
  return static_cast<int>(
      std::min<int64_t>(groups.count, cpu::threads_for(shape.tangents * shape.batch * shape.size)));
}

template <typename scalar_t>
std::vector<std::vector<scalar_t>> rooms_for(int threads, int64_t size) {
  return {static_cast<size_t>(threads), std::vector<scalar_t>(size)};
}

template <typename scalar_t>
void tangent_on_cpu(const LayerNormTangent& of) {
  const Groups groups(of.out, kElements);
  const int threads = threads_of(of.out, groups);
  auto rooms = rooms_for<scalar_t>(threads, cpu::kLayerNormRoom * of.out.size);
  for_each_group(of.out, groups, threads, [&](int64_t, int64_t first, int64_t last, int thread) {
    cpu::kernels<scalar_t>().layer_norm_tangent(of, first, last, rooms[thread].data());
  });
}

template <typename scalar_t>
void gradient_on_cpu(const LayerNormGradientTangent& of, double* weight_rows, double* bias_rows) {
  const Tangents& shape = of.out;
  const int64_t size = shape.tangents * shape.size;
  const Groups groups(shape, std::max(kElements, kFewestRows * shape.size), kMostGroups);
  const int threads = threads_of(shape, groups);
  auto rooms = rooms_for<scalar_t>(threads, cpu::kLayerNormRoom * shape.size + 2 * size);
  std::vector<double> partials(groups.count * 2 * size);
  for_each_group(shape, groups, threads,
                 [&](int64_t group, int64_t first, int64_t last, int thread) {
                   double* sums = partials.data() + group * 2 * size;
                   scalar_t *terms = rooms[thread].data(), *room = terms + 2 * size;
                   for (int64_t r = first; r < last; r += kRowsInTurn) {
                     std::fill(terms, room, scalar_t{0});
                     cpu::kernels<scalar_t>().layer_norm_gradient(
                         of, r, std::min(last, r + kRowsInTurn), terms, terms + size, room);
                     for (int64_t e = 0; e < 2 * size; ++e)
                       sums[e] += static_cast<double>(terms[e]);
                   }
                 });
  std::fill(weight_rows, weight_rows + size, 0.0);
  std::fill(bias_rows, bias_rows + size, 0.0);
  for (int64_t group = 0; group < groups.count; ++group) {
    const double* sums = partials.data() + group * 2 * size;
    for (int64_t e = 0; e < size; ++e) weight_rows[e] += sums[e];
    for (int64_t e = 0; e < size; ++e) bias_rows[e] += sums[size + e];
  }
}

template <typename scalar_t>
void quadratic_on_cpu(const LayerNormQuadratic& of, double* forms) {
  const int64_t tangents = of.dot.tangents;
  std::fill(forms, forms + tangents, 0.0);
  if (of.dot.batch * of.dot.size == 0) return;
  const Groups groups(of.dot, kElements);
  const int threads = threads_of(of.dot, groups);
  auto rooms = rooms_for<scalar_t>(threads, cpu::kLayerNormRoom * of.dot.size);
  std::vector<double> partials(groups.count * tangents);
  for_each_group(of.dot, groups, threads,
                 [&](int64_t group, int64_t first, int64_t last, int thread) {
                   cpu::kernels<scalar_t>().layer_norm_form(
                       of, first, last, partials.data() + group * tangents, rooms[thread].data());
                 });
  for (size_t e = 0; e < partials.size(); ++e) forms[e % tangents] += partials[e];
}

}  // namespace

void layer_norm_tangent(const LayerNormTangent& of) {
  if (of.out.tangents * of.out.batch * of.out.size == 0) return;
  if constexpr (cuda::kBuilt) {
    if (of.out.device.cuda) return cuda::layer_norm_tangent(of);
  }
  (of.out.scalar == Scalar::float32 ? tangent_on_cpu<float> : tangent_on_cpu<double>)(of);
}

int64_t layer_norm_gradient_tangent_scratch(const LayerNormGradientTangent& of) {
  if constexpr (cuda::kBuilt) {
    if (of.out.device.cuda) return cuda::layer_norm_gradient_tangent_scratch(of.out);
  }
  return 0;
}

void layer_norm_gradient_tangent(const LayerNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (of.out.device.cuda) {
      return cuda::layer_norm_gradient_tangent(of, weight_rows, bias_rows, scratch);
    }
  }
  (of.out.scalar == Scalar::float32 ? gradient_on_cpu<float>
                                    : gradient_on_cpu<double>)(of, weight_rows, bias_rows);
}

int64_t layer_norm_quadratic_scratch(const LayerNormQuadratic& of) {
  if constexpr (cuda::kBuilt) {
    if (of.dot.device.cuda) return cuda::layer_norm_quadratic_scratch(of.dot);
  }
  return 0;
}

void layer_norm_quadratic(const LayerNormQuadratic& of, double* forms, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (of.dot.device.cuda) return cuda::layer_norm_quadratic(of, forms, scratch);
  }
  (of.dot.scalar == Scalar::float32 ? quadratic_on_cpu<float> : quadratic_on_cpu<double>)(of,
                                                                                          forms);
}

}  // namespace landscape

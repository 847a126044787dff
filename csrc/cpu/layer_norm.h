// Layer normalisation over some rows. Of a row, what all tangents share is computed once and stays
// in the first cache, like the row of each tangent between its sums and its elements. A vector
// that is absent is read as one of zeros or ones: no branch in a loop.
#pragma once

#include "../normal.h"
#include "sums.h"

namespace landscape::cpu {
namespace {

// One thread's vectors over the columns.
template <typename scalar_t>
struct RowRoom {
  scalar_t *normal, *shared, *zeros, *ones;

  RowRoom(scalar_t* room, int64_t n)
      : normal(room), shared(room + n), zeros(room + 2 * n), ones(room + 3 * n) {
    for (int64_t j = 0; j < n; ++j) {
      zeros[j] = 0;
      ones[j] = 1;
    }
  }
};

template <typename scalar_t>
LANDSCAPE_INLINE const scalar_t* row_or(const Matrix& m, int64_t row, const scalar_t* otherwise) {
  return m.data == nullptr ? otherwise : m.as<scalar_t>() + row * m.stride;
}

template <typename scalar_t>
LANDSCAPE_INLINE const scalar_t* piece_or(const Tangents& t, int64_t k, int64_t r,
                                          const scalar_t* otherwise) {
  return t.data == nullptr ? otherwise : t.piece<scalar_t>(k, r);
}

// The normalised row; returns one over the deviation.
template <typename scalar_t>
LANDSCAPE_INLINE scalar_t fill_normal(const LayerNorm& of, int64_t r, scalar_t* normal, int64_t n) {
  const scalar_t* x = of.x.as<scalar_t>() + r * of.x.stride;
  const scalar_t mean = of.mean.as<scalar_t>()[r], inverse = of.inverse.as<scalar_t>()[r];
  for (int64_t j = 0; j < n; ++j) normal[j] = (x[j] - mean) * inverse;
  return inverse;
}

template <typename scalar_t>
void layer_norm_tangent(const LayerNormTangent& of, int64_t first, int64_t last, scalar_t* room) {
  const int64_t n = of.out.size;
  const RowRoom<scalar_t> own(room, n);
  const scalar_t* weight = row_or(of.layer.weight, 0, own.ones);
  const scalar_t* normal = own.normal;
  for (int64_t r = first; r < last; ++r) {
    const scalar_t inverse = fill_normal(of.layer, r, own.normal, n);
    for (int64_t k = 0; k < of.out.tangents; ++k) {
      const scalar_t* dot = piece_or(of.dot, k, r, own.zeros);
      const scalar_t* weight_dot = row_or(of.layer.weight_dot, k, own.zeros);
      const scalar_t* bias_dot = row_or(of.bias_dot, k, own.zeros);
      scalar_t* out = of.out.piece<scalar_t>(k, r);
      double sums[2];
      sum_terms<scalar_t>(n, sums, [=](int64_t j, auto& terms) {
        typedef Term<decltype(terms)> T;
        terms[0] = take<T>(dot + j);
        terms[1] = terms[0] * take<T>(normal + j);
      });
      const auto mean = static_cast<scalar_t>(sums[0] / n);
      const auto along = static_cast<scalar_t>(sums[1] / n);
      for_each_vector<scalar_t>(0, n, [=](int64_t j, auto zero) {
        typedef decltype(zero) T;
        const T at = take<T>(normal + j);
        const T moved = centred(take<T>(dot + j), at, mean - T{}, along - T{}) * inverse;
        put(out + j,
            moved * take<T>(weight + j) + (at * take<T>(weight_dot + j) + take<T>(bias_dot + j)));
      });
    }
  }
}

// Adds the terms of rows first to last to weight_sums and bias_sums, (K, C).
template <typename scalar_t>
void layer_norm_gradient(const LayerNormGradientTangent& of, int64_t first, int64_t last,
                         scalar_t* weight_sums, scalar_t* bias_sums, scalar_t* room) {
  const int64_t n = of.out.size;
  const RowRoom<scalar_t> own(room, n);
  const scalar_t* weight = row_or(of.layer.weight, 0, own.ones);
  const scalar_t *normal = own.normal, *q = own.shared;
  for (int64_t r = first; r < last; ++r) {
    const scalar_t inverse = fill_normal(of.layer, r, own.normal, n);
    const scalar_t* delta = of.delta.as<scalar_t>() + r * of.delta.stride;
    double own_sums[2];
    sum_terms<scalar_t>(n, own_sums, [=](int64_t j, auto& terms) {
      typedef Term<decltype(terms)> T;
      terms[0] = take<T>(delta + j) * take<T>(weight + j);
      terms[1] = terms[0] * take<T>(normal + j);
    });
    const auto scaled_mean = static_cast<scalar_t>(own_sums[0] / n);
    const auto scaled_along = static_cast<scalar_t>(own_sums[1] / n);
    for (int64_t j = 0; j < n; ++j) {
      own.shared[j] = centred(delta[j] * weight[j], normal[j], scaled_mean, scaled_along);
    }
    for (int64_t k = 0; k < of.out.tangents; ++k) {
      const scalar_t* delta_dot = piece_or(of.delta_dot, k, r, own.zeros);
      const scalar_t* x_dot = piece_or(of.x_dot, k, r, own.zeros);
      const scalar_t* weight_dot = row_or(of.layer.weight_dot, k, own.zeros);
      scalar_t* out = of.out.piece<scalar_t>(k, r);
      scalar_t *weight_sum = weight_sums + k * n, *bias_sum = bias_sums + k * n;
      double sums[5];
      sum_terms<scalar_t>(n, sums, [=](int64_t j, auto& terms) {
        typedef Term<decltype(terms)> T;
        const T at = take<T>(normal + j), moved = take<T>(x_dot + j);
        terms[0] = take<T>(delta_dot + j) * take<T>(weight + j) +
                   take<T>(delta + j) * take<T>(weight_dot + j);
        terms[1] = terms[0] * at;
        terms[2] = moved;
        terms[3] = moved * at;
        terms[4] = moved * take<T>(q + j);
      });
      for (double& sum : sums) sum /= n;
      const auto c = gradient_coefficients<scalar_t>({sums[0], sums[1], sums[2], sums[3], sums[4]},
                                                     inverse, own_sums[1] / n);
      for_each_vector<scalar_t>(0, n, [=](int64_t j, auto zero) {
        typedef decltype(zero) T;
        const T at = take<T>(normal + j), arriving = take<T>(delta + j);
        const T arriving_dot = take<T>(delta_dot + j);
        const T moved = centred(take<T>(x_dot + j), at, c.mean - T{}, c.along - T{}) * c.inverse;
        put(weight_sum + j, take<T>(weight_sum + j) + (arriving_dot * at + arriving * moved));
        put(bias_sum + j, take<T>(bias_sum + j) + arriving_dot);
        const T scaled = arriving_dot * take<T>(weight + j) + arriving * take<T>(weight_dot + j);
        put(out + j, gradient_element(c, scaled, at, moved, take<T>(q + j)));
      });
    }
  }
}

// Adds the forms of rows first to last to forms, (K,).
template <typename scalar_t>
void layer_norm_form(const LayerNormQuadratic& of, int64_t first, int64_t last, double* forms,
                     scalar_t* room) {
  const int64_t n = of.dot.size;
  const RowRoom<scalar_t> own(room, n);
  const scalar_t* weight = row_or(of.layer.weight, 0, own.ones);
  const scalar_t *normal = own.normal, *scaled = own.shared;
  for (int64_t r = first; r < last; ++r) {
    const scalar_t inverse = fill_normal(of.layer, r, own.normal, n);
    const scalar_t* adjoint = of.adjoint.as<scalar_t>() + r * of.adjoint.stride;
    for (int64_t j = 0; j < n; ++j) own.shared[j] = adjoint[j] * weight[j];
    double own_sums[2];
    sum_terms<scalar_t>(n, own_sums, [=](int64_t j, auto& terms) {
      typedef Term<decltype(terms)> T;
      terms[0] = take<T>(normal + j) * take<T>(normal + j);
      terms[1] = take<T>(normal + j) * take<T>(scaled + j);
    });
    for (int64_t k = 0; k < of.dot.tangents; ++k) {
      const scalar_t* dot = of.dot.piece<scalar_t>(k, r);
      const scalar_t* weight_dot = row_or(of.layer.weight_dot, k, own.zeros);
      double means[2];
      sum_terms<scalar_t>(n, means, [=](int64_t j, auto& terms) {
        typedef Term<decltype(terms)> T;
        terms[0] = take<T>(dot + j);
        terms[1] = terms[0] * take<T>(normal + j);
      });
      const auto mean = static_cast<scalar_t>(means[0] / n);
      const auto along = static_cast<scalar_t>(means[1] / n);
      double sums[3];
      sum_terms<scalar_t>(n, sums, [=](int64_t j, auto& terms) {
        typedef Term<decltype(terms)> T;
        const T u = centred(take<T>(dot + j), take<T>(normal + j), mean - T{}, along - T{});
        terms[0] = u * u;
        terms[1] = u * take<T>(scaled + j);
        terms[2] = u * (take<T>(adjoint + j) * take<T>(weight_dot + j));
      });
      forms[k] += set_form(inverse, means[1] / n, sums[0] / n, own_sums[0] / n, sums[1],
                           own_sums[1], sums[2]);
    }
  }
}

}  // namespace
}  // namespace landscape::cpu

// Element by element: tangents of a normalisation with given statistics, then a sum, then a relu,
//
//   y = relu((x - mean[c]) scale[c] weight[c] + bias[c] + residual),   gain = scale weight,
//
// and of its backward pass. The functions serve one element or a vector of adjacent ones, on both
// devices; pointers without memory stand for terms that are zero.
#pragma once

#include "tangents.h"

namespace landscape {
namespace {

// Of one channel and one tangent.
template <typename T>
struct NormCoefficients {
  T gain;
  T mean;
  T slope;  // scale times the tangent of weight
  T shift;  // the tangent of bias
};

template <typename scalar_t>
LANDSCAPE_SHARED NormCoefficients<scalar_t> coefficients(const NormParameters& of, int64_t k,
                                                         int64_t c) {
  const scalar_t *weight_dot = of.weight_dot.as<scalar_t>(), *bias_dot = of.bias_dot.as<scalar_t>();
  return {of.gain.as<scalar_t>()[c], of.mean.as<scalar_t>()[c],
          weight_dot == nullptr
              ? scalar_t{0}
              : of.scale.as<scalar_t>()[c] * weight_dot[k * of.weight_dot.stride + c],
          bias_dot == nullptr ? scalar_t{0} : bias_dot[k * of.bias_dot.stride + c]};
}

// The pieces of one tangent and one sample.
template <typename scalar_t>
struct NormTangentPieces {
  scalar_t* first;
  const scalar_t* second;
  scalar_t* result;
  const scalar_t* residual;
  const scalar_t* x;  // null where weight does not move
  const scalar_t* output;
};

template <typename scalar_t>
LANDSCAPE_SHARED NormTangentPieces<scalar_t> pieces(const NormTangent& of, int64_t k, int64_t b) {
  const auto primal = [b](const Matrix& m) {
    return m.data == nullptr ? nullptr : m.as<scalar_t>() + b * m.stride;
  };
  return {of.first.piece<scalar_t>(k, b),
          of.second.piece<scalar_t>(k, b),
          of.result.piece<scalar_t>(k, b),
          of.residual.piece<scalar_t>(k, b),
          of.parameters.weight_dot.data == nullptr ? nullptr : primal(of.x),
          primal(of.output)};
}

template <typename T, typename scalar_t>
LANDSCAPE_SHARED void norm_tangent_step(const NormTangentPieces<scalar_t>& at, int64_t j,
                                        const NormCoefficients<T>& c) {
  T value = c.shift;
  if (at.first != nullptr) {
    T summed = take<T>(at.first + j);
    if (at.second != nullptr) {
      summed += take<T>(at.second + j);
      put(at.first + j, summed);
    }
    value += summed * c.gain;
  }
  if (at.x != nullptr) value += (take<T>(at.x + j) - c.mean) * c.slope;
  if (at.residual != nullptr) value += take<T>(at.residual + j);
  if (at.output != nullptr) value = take<T>(at.output + j) > T{} ? value : T{};
  put(at.result + j, value);
}

template <typename scalar_t>
struct NormGradientPieces {
  scalar_t* first;
  const scalar_t* second;
  scalar_t* result;
  const scalar_t* delta;
  const scalar_t* x;
  const scalar_t* x_dot;
  const scalar_t* output;
  bool weight_moves;
};

template <typename scalar_t>
LANDSCAPE_SHARED NormGradientPieces<scalar_t> pieces(const NormGradientTangent& of, int64_t k,
                                                     int64_t b) {
  const auto primal = [b](const Matrix& m) {
    return m.data == nullptr ? nullptr : m.as<scalar_t>() + b * m.stride;
  };
  return {of.first.piece<scalar_t>(k, b),
          of.second.piece<scalar_t>(k, b),
          of.result.piece<scalar_t>(k, b),
          primal(of.delta),
          primal(of.x),
          of.x_dot.piece<scalar_t>(k, b),
          primal(of.output),
          of.parameters.weight_dot.data != nullptr};
}

// What one element adds to the sums over its channel.
template <typename T>
struct NormTerms {
  T weight;  // to be multiplied by scale
  T bias;
};

template <typename T, typename scalar_t>
LANDSCAPE_SHARED NormTerms<T> norm_gradient_step(const NormGradientPieces<scalar_t>& at, int64_t j,
                                                 const NormCoefficients<T>& c) {
  T masked = take<T>(at.first + j);
  if (at.second != nullptr) masked += take<T>(at.second + j);
  if (at.output != nullptr) masked = take<T>(at.output + j) > T{} ? masked : T{};
  if (at.second != nullptr || at.output != nullptr) put(at.first + j, masked);
  T weight = masked * (take<T>(at.x + j) - c.mean);
  const bool lifted = at.result != nullptr && at.weight_moves;
  const T delta = lifted || at.x_dot != nullptr ? take<T>(at.delta + j) : T{};
  if (at.x_dot != nullptr) weight += take<T>(at.x_dot + j) * delta;
  if (at.result != nullptr) {
    T value = masked * c.gain;
    if (lifted) value += delta * c.slope;
    put(at.result + j, value);
  }
  return {weight, masked};
}

}  // namespace
}  // namespace landscape

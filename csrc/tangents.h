// K tangents of one value, as the fused parts of Hessian-vector products are given them.
#pragma once

#include "matrix.h"

namespace landscape {

// Piece (k, b), with k one of `tangents` and b one of `batch`, is `size` adjacent elements from
// data + k * tangent_stride + b * batch_stride on. No data: the tangent is zero.
struct Tangents {
  void* data;
  int64_t tangents;
  int64_t batch;
  int64_t size;
  int64_t tangent_stride;
  int64_t batch_stride;
  Scalar scalar;
  Device device;

  template <typename scalar_t>
  LANDSCAPE_SHARED scalar_t* piece(int64_t k, int64_t b) const {
    return data == nullptr ? nullptr
                           : static_cast<scalar_t*>(data) + k * tangent_stride + b * batch_stride;
  }
};

// A normalisation with given statistics, one weight and bias per channel; gain = scale * weight.
struct NormParameters {
  int64_t channels;
  int64_t positions;            // a piece is (channels, positions)
  Matrix mean, scale, gain;     // (C,)
  Matrix weight_dot, bias_dot;  // (K, C), optional
};

// What affine_norm_tangent is given.
struct NormTangent {
  Tangents first, second, result, residual;  // (K, B, C S)
  Matrix x, output;                          // (B, C S)
  NormParameters parameters;
};

// What affine_norm_gradient_tangent is given.
struct NormGradientTangent {
  Tangents first, second, result, x_dot;  // (K, B, C S)
  Matrix delta, x, output;                // (B, C S)
  NormParameters parameters;              // without bias_dot
};

enum class Activation { relu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus };

// What the pointwise operations are given. For pointwise_tangent the tangents are delta_dot, and
// there is no weight; for pointwise_quadratic they are z_dot.
struct Pointwise {
  Activation kind;
  Matrix z, weight;                // (B, size); weight: delta or the adjoint
  Tangents z_dot, delta_dot, out;  // (K, B, size)
};

// What the operations on softmax are given.
struct Softmax {
  Matrix p;           // (R, C), rows that sum to one
  Matrix row_weight;  // (R,)
  Tangents dot, out;  // (K, R, C)
};

// Normalisation of every row by its own mean and deviation.
struct LayerNorm {
  Matrix x;              // (R, C)
  Matrix mean, inverse;  // (R,), inverse: one over the deviation
  Matrix weight;         // (C,), optional: ones
  Matrix weight_dot;     // (K, C), optional
};

// What layer_norm_tangent is given.
struct LayerNormTangent {
  LayerNorm layer;
  Tangents dot, out;  // (K, R, C), dot optional
  Matrix bias_dot;    // (K, C), optional
};

// What layer_norm_gradient_tangent is given.
struct LayerNormGradientTangent {
  LayerNorm layer;
  Matrix delta;                    // (R, C)
  Tangents delta_dot, x_dot, out;  // (K, R, C), the first two optional
};

// What layer_norm_quadratic is given.
struct LayerNormQuadratic {
  LayerNorm layer;
  Matrix adjoint;  // (R, C)
  Tangents dot;    // (K, R, C)
};

// Normalisation of every channel by its mean and deviation over the batch and all positions.
struct BatchNorm {
  int64_t channels;
  int64_t positions;             // a piece is (channels, positions)
  Matrix x;                      // (B, C S)
  Matrix mean, inverse, weight;  // (C,), weight optional: ones
  Matrix weight_dot;             // (K, C), optional
};

// What batch_norm_tangent is given.
struct BatchNormTangent {
  BatchNorm layer;
  Tangents dot, out;  // (K, B, C S), dot optional
  Matrix bias_dot;    // (K, C), optional
};

// What batch_norm_gradient_tangent is given.
struct BatchNormGradientTangent {
  BatchNorm layer;
  Matrix delta;                    // (B, C S)
  Tangents delta_dot, x_dot, out;  // (K, B, C S), the first two optional
};

// What batch_norm_quadratic is given.
struct BatchNormQuadratic {
  BatchNorm layer;
  Matrix adjoint;  // (B, C S)
  Tangents dot;    // (K, B, C S)
};

// One element, or one vector of adjacent ones, of the type that the caller computes in.
template <typename T, typename scalar_t>
LANDSCAPE_SHARED T take(const scalar_t* p) {
  if constexpr (sizeof(T) == sizeof(scalar_t)) {
    return *p;
  } else {
    T value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
  }
}

template <typename T, typename scalar_t>
LANDSCAPE_SHARED void put(scalar_t* p, const T& value) {
  if constexpr (sizeof(T) == sizeof(scalar_t)) {
    *p = value;
  } else {
    __builtin_memcpy(p, &value, sizeof value);
  }
}

}  // namespace landscape

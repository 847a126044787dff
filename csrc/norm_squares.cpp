#include <vector>

#include "ops.h"

namespace landscape {
namespace {

Tangents sample(Tangents block, int64_t b) {
  const int64_t size = block.scalar == Scalar::float32 ? 4 : 8;
  if (block.data != nullptr) {
    block.data = static_cast<char*>(block.data) + b * block.batch_stride * size;
  }
  block.batch = 1;
  return block;
}

Matrix sample(const Matrix& primal, int64_t b) {
  return primal.data == nullptr ? primal : primal.some_rows(b, 1);
}

}  // namespace

void affine_norm_squares(const NormGradientTangent& of, double* weight_squares,
                         double* bias_squares) {
  const int64_t channels = of.parameters.channels, tangents = of.first.tangents;
  std::vector<double> rows(2 * tangents * channels);
  double* const bias_rows = rows.data() + tangents * channels;
  std::fill(weight_squares, weight_squares + channels, 0.0);
  std::fill(bias_squares, bias_squares + channels, 0.0);
  for (int64_t b = 0; b < of.first.batch; ++b) {
    NormGradientTangent one = of;
    for (Tangents* block : {&one.first, &one.second, &one.result}) *block = sample(*block, b);
    for (Matrix* primal : {&one.x, &one.output}) *primal = sample(*primal, b);
    affine_norm_gradient_tangent(one, rows.data(), bias_rows, nullptr);
    for (int64_t e = 0; e < tangents * channels; ++e) {
      weight_squares[e % channels] = plus_square(weight_squares[e % channels], rows[e]);
      bias_squares[e % channels] = plus_square(bias_squares[e % channels], bias_rows[e]);
    }
  }
}

}  // namespace landscape

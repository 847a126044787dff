// The launchers of operations on blocks of tangents as C functions.
#include "entry.h"

namespace {

landscape::NormParameters parameters(int64_t channels, int64_t positions, const Block* vectors) {
  return {channels,           positions,          matrix(vectors[0]), matrix(vectors[1]),
          matrix(vectors[2]), matrix(vectors[3]), matrix(vectors[4])};
}

}  // namespace

extern "C" {

// blocks: first, second, result, residual; primals: x, output; vectors: mean, scale, gain,
// weight_dot, bias_dot
const char* emulated_affine_norm_tangent(const Pieces* blocks, const Block* primals,
                                         const Block* vectors, int64_t channels,
                                         int64_t positions) {
  return report([&] {
    landscape::cuda::affine_norm_tangent(
        {tangents(blocks[0]), tangents(blocks[1]), tangents(blocks[2]), tangents(blocks[3]),
         matrix(primals[0]), matrix(primals[1]), parameters(channels, positions, vectors)});
  });
}

// blocks: first, second, result, x_dot; primals: delta, x, output; vectors: as above
const char* emulated_affine_norm_gradient_tangent(const Pieces* blocks, const Block* primals,
                                                  const Block* vectors, int64_t channels,
                                                  int64_t positions, double* weight_rows,
                                                  double* bias_rows) {
  const landscape::NormGradientTangent of{
      tangents(blocks[0]), tangents(blocks[1]),
      tangents(blocks[2]), tangents(blocks[3]),
      matrix(primals[0]),  matrix(primals[1]),
      matrix(primals[2]),  parameters(channels, positions, vectors)};
  return report_with_scratch(
      landscape::cuda::affine_norm_gradient_tangent_scratch(of.first), [&](double* scratch) {
        landscape::cuda::affine_norm_gradient_tangent(of, weight_rows, bias_rows, scratch);
      });
}

// blocks: z_dot, delta_dot, out; primals: z, weight
const char* emulated_pointwise_tangent(int kind, const Pieces* blocks, const Block* primals) {
  return report([&] {
    landscape::cuda::pointwise_tangent({static_cast<landscape::Activation>(kind),
                                        matrix(primals[0]), matrix(primals[1]), tangents(blocks[0]),
                                        tangents(blocks[1]), tangents(blocks[2])});
  });
}

const char* emulated_pointwise_quadratic(int kind, const Pieces* z_dot, const Block* primals,
                                         double* forms) {
  const landscape::Pointwise of{static_cast<landscape::Activation>(kind),
                                matrix(primals[0]),
                                matrix(primals[1]),
                                tangents(*z_dot),
                                {},
                                {}};
  return report_with_scratch(
      landscape::cuda::pointwise_quadratic_scratch(of.z_dot),
      [&](double* scratch) { landscape::cuda::pointwise_quadratic(of, forms, scratch); });
}

// blocks: dot, out; primals: p, row_weight
const char* emulated_softmax_tangent(const Pieces* blocks, const Block* primals) {
  return report([&] {
    landscape::cuda::softmax_tangent(
        {matrix(primals[0]), matrix(primals[1]), tangents(blocks[0]), tangents(blocks[1])});
  });
}

const char* emulated_softmax_quadratic(const Pieces* dot, const Block* primals, double* forms) {
  const landscape::Softmax of{matrix(primals[0]), matrix(primals[1]), tangents(*dot), {}};
  return report_with_scratch(
      landscape::cuda::softmax_quadratic_scratch(of.dot),
      [&](double* scratch) { landscape::cuda::softmax_quadratic(of, forms, scratch); });
}
}

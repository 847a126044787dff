// The launchers of normalisations by statistics of their own input as C functions.
#include "entry.h"

namespace {

// vectors: x, mean, inverse, weight, weight_dot
landscape::LayerNorm layer(const Block* vectors) {
  return {matrix(vectors[0]), matrix(vectors[1]), matrix(vectors[2]), matrix(vectors[3]),
          matrix(vectors[4])};
}

landscape::BatchNorm layer(const Block* vectors, int64_t channels, int64_t positions) {
  return {channels,           positions,          matrix(vectors[0]), matrix(vectors[1]),
          matrix(vectors[2]), matrix(vectors[3]), matrix(vectors[4])};
}

}  // namespace

extern "C" {

// blocks: dot, out; vectors: those of the layer, then bias_dot
const char* emulated_layer_norm_tangent(const Pieces* blocks, const Block* vectors) {
  return report([&] {
    landscape::cuda::layer_norm_tangent(
        {layer(vectors), tangents(blocks[0]), tangents(blocks[1]), matrix(vectors[5])});
  });
}

// blocks: delta_dot, x_dot, out; vectors: those of the layer, then delta
const char* emulated_layer_norm_gradient_tangent(const Pieces* blocks, const Block* vectors,
                                                 double* weight_rows, double* bias_rows) {
  const landscape::LayerNormGradientTangent of{layer(vectors), matrix(vectors[5]),
                                               tangents(blocks[0]), tangents(blocks[1]),
                                               tangents(blocks[2])};
  return report_with_scratch(
      landscape::cuda::layer_norm_gradient_tangent_scratch(of.out), [&](double* scratch) {
        landscape::cuda::layer_norm_gradient_tangent(of, weight_rows, bias_rows, scratch);
      });
}

// vectors: those of the layer, then the adjoint
const char* emulated_layer_norm_quadratic(const Pieces* dot, const Block* vectors, double* forms) {
  const landscape::LayerNormQuadratic of{layer(vectors), matrix(vectors[5]), tangents(*dot)};
  return report_with_scratch(
      landscape::cuda::layer_norm_quadratic_scratch(of.dot),
      [&](double* scratch) { landscape::cuda::layer_norm_quadratic(of, forms, scratch); });
}

// The same for batch normalisation.
const char* emulated_batch_norm_tangent(const Pieces* blocks, const Block* vectors,
                                        int64_t channels, int64_t positions) {
  return report([&] {
    landscape::cuda::batch_norm_tangent({layer(vectors, channels, positions), tangents(blocks[0]),
                                         tangents(blocks[1]), matrix(vectors[5])});
  });
}

const char* emulated_batch_norm_gradient_tangent(const Pieces* blocks, const Block* vectors,
                                                 int64_t channels, int64_t positions,
                                                 double* weight_rows, double* bias_rows) {
  return report([&] {
    landscape::cuda::batch_norm_gradient_tangent(
        {layer(vectors, channels, positions), matrix(vectors[5]), tangents(blocks[0]),
         tangents(blocks[1]), tangents(blocks[2])},
        weight_rows, bias_rows);
  });
}

const char* emulated_batch_norm_quadratic(const Pieces* dot, const Block* vectors, int64_t channels,
                                          int64_t positions, double* forms) {
  const landscape::BatchNormQuadratic of{layer(vectors, channels, positions), matrix(vectors[5]),
                                         tangents(*dot)};
  return report_with_scratch(
      landscape::cuda::batch_norm_quadratic_scratch(of),
      [&](double* scratch) { landscape::cuda::batch_norm_quadratic(of, forms, scratch); });
}
}

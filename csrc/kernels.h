// Launchers of the CUDA kernels. Arguments arrive checked and are on one device; work is put on the
// stream of the first one. `scratch` holds as many float64 as the function before it says: nothing
// is allocated here, so that a CUDA graph can replay the launches. Contracts are those of ops.h.
#pragma once

#include "squares.h"

namespace landscape::cuda {

#ifdef LANDSCAPE_HAS_CUDA
constexpr bool kBuilt = true;
#else
constexpr bool kBuilt = false;  // the functions below are then declared and nowhere called
#endif

void signs(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry);
void normals(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry);

int64_t row_dots_scratch(int64_t k, int64_t n);
void row_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch);

int64_t block_dots_scratch(int64_t k, int64_t m, int64_t n);
void block_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch);

void block_update(const Matrix& y, const Matrix& c, const Matrix& basis);

int64_t orthogonalise_scratch(int64_t k, int64_t m, int64_t n);
void orthogonalise(const Matrix& block, const Matrix& basis, double* coefficients, double* scratch);

void affine_norm_tangent(const NormTangent& of);

int64_t affine_norm_gradient_tangent_scratch(const Tangents& shape);
void affine_norm_gradient_tangent(const NormGradientTangent& of, double* weight_rows,
                                  double* bias_rows, double* scratch);

void pointwise_tangent(const Pointwise& of);

int64_t pointwise_quadratic_scratch(const Tangents& shape);
void pointwise_quadratic(const Pointwise& of, double* forms, double* scratch);

void softmax_tangent(const Softmax& of);

int64_t softmax_quadratic_scratch(const Tangents& shape);
void softmax_quadratic(const Softmax& of, double* forms, double* scratch);

int64_t square_sums_scratch(const Tangents& block);
void square_sums(const Tangents& block, double* sums, double* scratch);

void layer_norm_tangent(const LayerNormTangent& of);

int64_t layer_norm_gradient_tangent_scratch(const Tangents& shape);
void layer_norm_gradient_tangent(const LayerNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows, double* scratch);

int64_t layer_norm_quadratic_scratch(const Tangents& shape);
void layer_norm_quadratic(const LayerNormQuadratic& of, double* forms, double* scratch);

void batch_norm_tangent(const BatchNormTangent& of);
void batch_norm_gradient_tangent(const BatchNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows);

int64_t batch_norm_quadratic_scratch(const BatchNormQuadratic& of);
void batch_norm_quadratic(const BatchNormQuadratic& of, double* forms, double* scratch);

}  // namespace landscape::cuda

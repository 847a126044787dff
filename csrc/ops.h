// Every operation of the module and its contract. Read this file alone.
//
// Blocks are (k, n): one vector per row, rows contiguous, float32 or float64. Arithmetic and sums
// are float64; sums run in an order fixed by the shapes alone, so results are equal to the bit on
// repeat and for any number of threads. Arguments arrive checked (tensor_view.h); empty ones are
// allowed. All act on detached data: none is differentiable.
//
// Blocks of K tangents (tangents.h) come with what they are tangents of: all data of one call have
// one dtype, elementwise arithmetic is done in it, and sums are float64 over partial sums of at
// most 64 terms. Vectors over channels are matrices of one row. An operand without data is zero, or
// a mask that keeps all.
//
// CUDA operations run on the stream of their first argument, in scratch of as many float64 as the
// function named so says (none on the CPU).
#pragma once

#include "matrix.h"
#include "squares.h"
#include "tangents.h"

namespace landscape {

// out[i, j] = +1 or -1, (k, n). Element (i, j) is one bit of Philox4x32-10 under key `seed` and
// counter (first_row + i, first_entry + j): the same on every device, in every dtype and slice.
void signs(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry);

// out[i, j] ~ N(0, 1), (k, n), by Box-Muller from the same generator in a stream of its own.
void normals(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry);

// dots[i] = sum_j x[i, j] y[i, j]; x, y: (k, n); dots: (k,)
int64_t row_dots_scratch(const Matrix& x, const Matrix& y);
void row_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch);

// dots[i, l] = sum_j x[i, j] y[l, j]; x: (k, n); y: (m, n); dots: (k, m)
int64_t block_dots_scratch(const Matrix& x, const Matrix& y);
void block_dots(const Matrix& x, const Matrix& y, double* dots, double* scratch);

// y[i, j] -= sum_l c[i, l] basis[l, j]; y: (k, n); c: (k, m) float64; basis: (m, n). The sum runs
// over l in ascending order starting from y; one rounding on store.
void block_update(const Matrix& y, const Matrix& c, const Matrix& basis);

// Two rounds of  c = block basis^T;  block -= c basis,  equal to the bit to block_dots and
// block_update called in turn. coefficients: (k, m), the sum of both rounds' c.
int64_t orthogonalise_scratch(const Matrix& block, const Matrix& basis);
void orthogonalise(const Matrix& block, const Matrix& basis, double* coefficients, double* scratch);

// Tangents of  y = relu((x - mean[c]) scale[c] weight[c] + bias[c] + residual), all as named in
// tangents.h:
//   first += second
//   result = keep (first gain[c] + (x - mean[c]) scale[c] weight_dot[k, c] + bias_dot[k, c]
//                  + residual),       keep = output > 0
// first, second, residual and output are optional; result may be second itself.
void affine_norm_tangent(const NormTangent& of);

//   first = keep (first + second)
//   result = first gain[c] + delta scale[c] weight_dot[k, c]
//   weight_rows[k, c] = scale[c] sum_bs (first (x - mean[c]) + x_dot delta)
//   bias_rows[k, c] = sum_bs first
// second, result, x_dot and output are optional; result may be second itself; bias_dot is not read.
// weight_rows, bias_rows: (K, C)
int64_t affine_norm_gradient_tangent_scratch(const NormGradientTangent& of);
void affine_norm_gradient_tangent(const NormGradientTangent& of, double* weight_rows,
                                  double* bias_rows, double* scratch);

// out = f''(z) weight z_dot + f'(z) delta_dot, f the activation; either tangent is optional. out
// may be one of them.
void pointwise_tangent(const Pointwise& of);

// forms[k] = sum weight f''(z) z_dot^2; forms: (K,)
int64_t pointwise_quadratic_scratch(const Pointwise& of);
void pointwise_quadratic(const Pointwise& of, double* forms, double* scratch);

// out = row_weight[r] p (dot - mean),  mean = sum_c p dot, float64 until stored; out may be dot.
void softmax_tangent(const Softmax& of);

// forms[k] = sum_r row_weight[r] sum_c p (dot - mean)^2; forms: (K,)
int64_t softmax_quadratic_scratch(const Softmax& of);
void softmax_quadratic(const Softmax& of, double* forms, double* scratch);

// sums[j] = sum_kb block[k, b, j]^2, rows in ascending order; block: (K, B, n); sums: (n,)
int64_t square_sums_scratch(const Tangents& block);
void square_sums(const Tangents& block, double* sums, double* scratch);

// sums[o, u, v, i] = sum_kb (sum_p delta[k, b, o, p] x[b, i, at(p, u, v)])^2: squares of the
// gradients of a convolution's filters, of every sample and cotangent alone. The inner sum is in
// the data's type, in the order of positions; the outer one is float64. On the CPU only.
// sums: (O, window, I / groups)
void filter_squares(const FilterSquares& of, double* sums);

// The gradients of affine_norm_gradient_tangent without x_dot and weight_dot; of every sample and
// cotangent alone, the sums over positions are squared:
//   weight_squares[c] = sum_kb (scale[c] sum_s first (x - mean[c]))^2
//   bias_squares[c] = sum_kb (sum_s first)^2
// delta is not read. On the CPU only. weight_squares, bias_squares: (C,)
void affine_norm_squares(const NormGradientTangent& of, double* weight_squares,
                         double* bias_squares);

// Tangents of  y = weight n + bias,  n = (x - mean) inverse  with the statistics of each row of x
// itself; n' and g' as in normal.h:
//   out = weight n' + weight_dot[k] n + bias_dot[k]
void layer_norm_tangent(const LayerNormTangent& of);

// Tangents of its backward pass, delta the gradient in y:
//   out = g',   weight_rows[k, c] = sum_r (delta_dot n + delta n'),   bias_rows[k, c] = sum_r
//   delta_dot
// weight_rows, bias_rows: (K, C)
int64_t layer_norm_gradient_tangent_scratch(const LayerNormGradientTangent& of);
void layer_norm_gradient_tangent(const LayerNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows, double* scratch);

// forms[k] = sum adjoint y", y" = weight n" + 2 weight_dot[k] n'; forms: (K,)
int64_t layer_norm_quadratic_scratch(const LayerNormQuadratic& of);
void layer_norm_quadratic(const LayerNormQuadratic& of, double* forms, double* scratch);

// The same three for statistics of each channel over samples and positions; blocks (K, B, C S),
// rows (K, C) sums over these.
void batch_norm_tangent(const BatchNormTangent& of);
void batch_norm_gradient_tangent(const BatchNormGradientTangent& of, double* weight_rows,
                                 double* bias_rows);
int64_t batch_norm_quadratic_scratch(const BatchNormQuadratic& of);
void batch_norm_quadratic(const BatchNormQuadratic& of, double* forms, double* scratch);

}  // namespace landscape

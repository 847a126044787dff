// Serial loops over one tile or one row, compiled once per instruction set.
//
// Sums run in eight lanes (column j goes to lane j mod 8) whatever the width of the hardware's
// vectors, and lanes are joined by a fixed tree, so results do not depend on the instruction set.
// One exception: without fused multiply-add (x86 before 2013) a product is rounded before it is
// added, which changes last bits except in sums of float32 products, exact either way.
#pragma once

#include <cstdint>

#include "../tangents.h"

namespace landscape::cpu {

constexpr int64_t kLanes = 8;
constexpr int64_t kGroupRows = 8;      // rows of a block that are worked on at a time
constexpr int64_t kSpread = 32;        // a channel with fewer positions has no loop of its own
constexpr int64_t kLayerNormRoom = 4;  // rows
constexpr int64_t kBatchNormSums = 5;

constexpr int64_t kSquareRows = 4;     // rows whose squares are added at a time
constexpr int64_t kFilterMargin = 64;  // elements behind an image that filter_squares may read

// Positions of a convolution's output, and how far the input moves from one to the next.
struct FilterSteps {
  int64_t height, width, down, across;
};

template <typename scalar_t>
struct Kernels {
  // sum_j x[j] y[j] over n columns
  double (*dot)(const scalar_t* x, const scalar_t* y, int64_t n);

  // sums[i][l][lane] += x[i, j] y[l, j] over a tile of `width` columns, a multiple of kLanes.
  // x: (k, width); y: (m, width); sums: (k, m, kLanes); packed: room for
  // (kGroupRows, width)
  void (*tile_dots)(const scalar_t* x, int64_t x_stride, int64_t k, const scalar_t* y,
                    int64_t y_stride, int64_t m, int64_t width, double* packed, double* sums);

  // y[i, j] -= sum_l c[i, l] basis[l, j] over a tile of `width` columns, a multiple of kLanes.
  // y: (k, width); c: (k, m); basis: (m, width); packed: room for
  // (kGroupRows, width)
  void (*tile_update)(scalar_t* y, int64_t y_stride, int64_t k, const double* c, int64_t c_stride,
                      const scalar_t* basis, int64_t basis_stride, int64_t m, int64_t width,
                      double* packed);

  // `count` entries of row `row`, from entry `entry` on
  void (*signs)(scalar_t* out, int64_t count, uint64_t seed, uint64_t row, uint64_t entry);
  void (*normals)(scalar_t* out, int64_t count, uint64_t seed, uint64_t row, uint64_t entry);

  // The operations of ops.h on channels first to last. With fewer than kSpread positions room holds
  // (2 + 2 K) numbers per element of a piece and sums 2 K; with more, sums holds 2 K kLanes per
  // channel.
  void (*norm_tangent)(const NormTangent& of, int64_t first, int64_t last, scalar_t* room);
  void (*norm_gradient)(const NormGradientTangent& of, int64_t first, int64_t last,
                        double* weight_rows, double* bias_rows, scalar_t* room, double* sums);

  // slopes[j] = f'(z[j]); bends[j] = f''(z[j]) weight[j]. One of the two may be null.
  void (*activation_factors)(Activation kind, const scalar_t* z, const scalar_t* weight, int64_t n,
                             scalar_t* slopes, scalar_t* bends);
  // out[j] = bends[j] z_dot[j] + slopes[j] delta_dot[j]; a tangent without memory is zero.
  void (*activation_tangent)(const scalar_t* bends, const scalar_t* z_dot, const scalar_t* slopes,
                             const scalar_t* delta_dot, scalar_t* out, int64_t n);
  // sum_j weight[j] x[j]^2
  double (*weighted_square)(const scalar_t* weight, const scalar_t* x, int64_t n);

  // out[j] = weight p[j] (dot[j] - mean), mean = sum_j p[j] dot[j]
  void (*softmax_row)(const scalar_t* p, const scalar_t* dot, double weight, scalar_t* out,
                      int64_t n);
  // sum_j p[j] (dot[j] - mean)^2
  double (*softmax_spread)(const scalar_t* p, const scalar_t* dot, int64_t n);

  // sums[j] += sum_r rows[r][j]^2, j < n, for up to kSquareRows rows
  void (*add_squares)(const scalar_t* const* rows, int64_t count, int64_t n, double* sums);
  // totals[r][t] += (sum_p deltas[r][p] image[at(p) + t])^2 for each of `count` rows, t < taps
  void (*filter_squares)(const scalar_t* const* deltas, int64_t count, const scalar_t* image,
                         const FilterSteps& steps, int64_t taps, double* const* totals);

  // The operations of ops.h on rows first to last, in a room of kLayerNormRoom rows. The last two
  // add to sums over rows, (K, C) each, and to forms, (K,).
  void (*layer_norm_tangent)(const LayerNormTangent& of, int64_t first, int64_t last,
                             scalar_t* room);
  void (*layer_norm_gradient)(const LayerNormGradientTangent& of, int64_t first, int64_t last,
                              scalar_t* weight_sums, scalar_t* bias_sums, scalar_t* room);
  void (*layer_norm_form)(const LayerNormQuadratic& of, int64_t first, int64_t last, double* forms,
                          scalar_t* room);

  // The operations of ops.h on channels first to last, with kBatchNormSums (K + 1) groups of kLanes
  // sums per channel; the last writes forms, (K, C).
  void (*batch_norm_tangent)(const BatchNormTangent& of, int64_t first, int64_t last, double* sums);
  void (*batch_norm_gradient)(const BatchNormGradientTangent& of, int64_t first, int64_t last,
                              double* weight_rows, double* bias_rows, double* sums);
  void (*batch_norm_form)(const BatchNormQuadratic& of, int64_t first, int64_t last, double* forms,
                          double* sums);
};

struct InstructionSet {
  const char* name;
  bool (*supported)();
  Kernels<float> float32;
  Kernels<double> float64;
};

// The widest set that this processor has, unless select() chose another.
const InstructionSet& instruction_set();

// For tests and benchmarks; null selects the widest again. False where the name is unknown or the
// processor lacks it.
bool select(const char* name);

template <typename scalar_t>
const Kernels<scalar_t>& kernels();

template <>
inline const Kernels<float>& kernels<float>() {
  return instruction_set().float32;
}

template <>
inline const Kernels<double>& kernels<double>() {
  return instruction_set().float64;
}

inline double join_lanes(const double* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

}  // namespace landscape::cpu

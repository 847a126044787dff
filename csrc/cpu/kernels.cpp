// Compiled once per instruction set; LANDSCAPE_INSTRUCTION_SET names it.
#include "affine_norm.h"
#include "batch_norm.h"
#include "dots.h"
#include "layer_norm.h"
#include "pointwise.h"
#include "probes.h"
#include "softmax.h"
#include "squares.h"
#include "update.h"

#define LANDSCAPE_TEXT(name) #name
#define LANDSCAPE_NAME(name) LANDSCAPE_TEXT(name)

namespace landscape::cpu {
namespace {

template <typename scalar_t>
constexpr Kernels<scalar_t> table() {
  return {dot<scalar_t>,
          tile_dots<scalar_t>,
          tile_update<scalar_t>,
          fill_row<SignGroup, scalar_t>,
          fill_row<NormalGroup, scalar_t>,
          norm_tangent<scalar_t>,
          norm_gradient<scalar_t>,
          activation_factors<scalar_t>,
          activation_tangent<scalar_t>,
          weighted_square<scalar_t>,
          softmax_row<scalar_t>,
          softmax_spread<scalar_t>,
          add_squares<scalar_t>,
          filter_squares<scalar_t>,
          layer_norm_tangent<scalar_t>,
          layer_norm_gradient<scalar_t>,
          layer_norm_form<scalar_t>,
          batch_norm_tangent<scalar_t>,
          batch_norm_gradient<scalar_t>,
          batch_norm_form<scalar_t>};
}

bool supported() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

}  // namespace

extern const InstructionSet LANDSCAPE_INSTRUCTION_SET;
const InstructionSet LANDSCAPE_INSTRUCTION_SET = {LANDSCAPE_NAME(LANDSCAPE_INSTRUCTION_SET),
                                                  supported, table<float>(), table<double>()};

}  // namespace landscape::cpu

// What one element of a tangent gets from the factors of its primal value, on both devices.
#pragma once

#include "tangents.h"

namespace landscape {
namespace {

// The pieces of one tangent and one row; pointers without memory stand for zero.
template <typename scalar_t>
struct PointwisePieces {
  const scalar_t* z_dot;
  const scalar_t* delta_dot;
  scalar_t* out;
};

template <typename T, typename scalar_t>
LANDSCAPE_SHARED void pointwise_step(const PointwisePieces<scalar_t>& at, int64_t j, T slope,
                                     T bend) {
  if (at.z_dot == nullptr) {
    put(at.out + j, slope * take<T>(at.delta_dot + j));
  } else if (at.delta_dot == nullptr) {
    put(at.out + j, bend * take<T>(at.z_dot + j));
  } else {
    put(at.out + j, bend * take<T>(at.z_dot + j) + slope * take<T>(at.delta_dot + j));
  }
}

}  // namespace
}  // namespace landscape

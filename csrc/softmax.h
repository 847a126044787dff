// One element of the second derivative of softmax cross-entropy, on both devices.
#pragma once

#include "shared.h"

namespace landscape {
namespace {

// T: float64, or a vector of them.
template <typename T>
LANDSCAPE_SHARED T softmax_element(T p, T dot, double mean, double weight) {
  return weight * (p * (dot - mean));
}

template <typename T>
LANDSCAPE_SHARED T softmax_square(T p, T dot, double mean) {
  const T apart = dot - mean;
  return p * (apart * apart);
}

}  // namespace
}  // namespace landscape

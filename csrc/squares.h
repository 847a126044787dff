// Sums of squares of per-sample gradients: what the operations are given, and what both devices
// compute alike.
#pragma once

#include "tangents.h"

namespace landscape {

// A sum continued by a square. The square of a float32 is exact in float64.
template <typename scalar_t>
LANDSCAPE_SHARED double plus_square(double sum, scalar_t value) {
  const double wide = static_cast<double>(value);
  return sum + wide * wide;
}

// Extents along height and width.
struct Plane {
  int64_t height, width;
};

// A convolution, neither transposed nor of other than two dimensions.
struct FilterGeometry {
  int64_t groups;
  int64_t channels;  // of the input, in one group
  Plane input, output, window, stride, padding, dilation;

  int64_t padded_width() const { return input.width + 2 * padding.width; }
  int64_t padded_height() const { return input.height + 2 * padding.height; }
};

// What filter_squares is given.
struct FilterSquares {
  Tangents delta;  // (K, B, O P), positions last
  int64_t outputs;
  Matrix x;  // (B, I H W), contiguous
  FilterGeometry geometry;
};

}  // namespace landscape

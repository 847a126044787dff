// Tangents of a normalisation by statistics of its own input, over one set of elements: a row of
// layer normalisation, a channel of batch normalisation. With m the mean over the set,
//
//   n  = (x - m(x)) inverse                  the normalised input
//   n' = (x' - m(x') - n m(x' n)) inverse    its tangent
//   g  = (s - m(s) - n m(s n)) inverse       the gradient in x, s the gradient in n
//   g' = (s' - m(s') - n m(s' n) - n' m(s n) - n inverse m(q x') - q inverse m(x' n)) inverse,
//        q = g / inverse
//   n" = -(2 m(x' n) u + n v) inverse^2,     the second derivative of n along x', with
//        u = n' / inverse, v = m(u^2) + m(x' n)^2 (1 - m(n^2))
//
// (m(n^2) is below one by what was added to the variance.) The functions serve one element or a
// vector of adjacent ones, on both devices; sums come in float64.
#pragma once

#include "tangents.h"

namespace landscape {
namespace {

// The element without its mean and without its part along `normal`.
template <typename T>
LANDSCAPE_SHARED T centred(T value, T normal, T mean, T along) {
  return (value - mean) - normal * along;
}

// What an element of g' takes from the sums over its set.
template <typename scalar_t>
struct GradientCoefficients {
  scalar_t mean, along;  // of x'
  scalar_t inverse;
  scalar_t shift, bend, normal, slope;
};

// The means over a set of s', s' n, x', x' n and q x'.
struct GradientMeans {
  double scaled, scaled_along, moved, along, change;
};

template <typename scalar_t>
LANDSCAPE_SHARED GradientCoefficients<scalar_t> gradient_coefficients(const GradientMeans& m,
                                                                      double inverse,
                                                                      double scaled_along) {
  return {static_cast<scalar_t>(m.moved),
          static_cast<scalar_t>(m.along),
          static_cast<scalar_t>(inverse),
          static_cast<scalar_t>(m.scaled * inverse),
          static_cast<scalar_t>(scaled_along * inverse),
          static_cast<scalar_t>((m.scaled_along + m.change * inverse) * inverse),
          static_cast<scalar_t>(m.along * inverse * inverse)};
}

// The same for a channel, whose weight and tangent of weight are one number each: from sums over
// its elements of d', d' n, x', x' n and x' q / weight, and of d and d n, d the gradient in y.
template <typename scalar_t>
LANDSCAPE_SHARED GradientCoefficients<scalar_t> channel_coefficients(const double* sums,
                                                                     const double* arriving,
                                                                     double elements,
                                                                     double inverse, double weight,
                                                                     double weight_dot) {
  const GradientMeans means{(weight * sums[0] + weight_dot * arriving[0]) / elements,
                            (weight * sums[1] + weight_dot * arriving[1]) / elements,
                            sums[2] / elements, sums[3] / elements, weight * sums[4] / elements};
  return gradient_coefficients<scalar_t>(means, inverse, weight * arriving[1] / elements);
}

// g' of one element; scaled: s', normal: n, normal_dot: n', q: as above
template <typename T, typename scalar_t>
LANDSCAPE_SHARED T gradient_element(const GradientCoefficients<scalar_t>& c, T scaled, T normal,
                                    T normal_dot, T q) {
  return (scaled * c.inverse - c.shift) - normal_dot * c.bend - (normal * c.normal + q * c.slope);
}

// < lambda, y" > of one set for y = weight n, from
//   square = m(u^2), spread = m(n^2), turned = sum lambda weight u, straight = sum lambda weight n,
//   and twice the product of u with the tangent of weight, lifted = sum lambda weight' u.
LANDSCAPE_SHARED double set_form(double inverse, double along, double square, double spread,
                                 double turned, double straight, double lifted) {
  const double change = square + along * along * (1.0 - spread);
  return inverse * (2.0 * lifted - inverse * (2.0 * along * turned + change * straight));
}

}  // namespace
}  // namespace landscape

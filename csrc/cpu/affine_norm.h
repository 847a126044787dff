// Tangents of a normalisation over some of its channels. One call walks all samples in order.
//
// Long runs of positions take coefficients from registers; a run is cut after 64 vectors, so that
// what all tangents share stays in the first cache. Short ones are not worth a loop each: there the
// coefficients are spread over the elements, and channels and positions are one dimension.
#pragma once

#include "../affine_norm.h"
#include "vectors.h"

namespace landscape::cpu {
namespace {

template <typename T, typename scalar_t>
LANDSCAPE_INLINE NormCoefficients<T> spread(const NormCoefficients<scalar_t>& c) {
  return {c.gain - T{}, c.mean - T{}, c.slope - T{}, c.shift - T{}};
}

// Coefficients per element of channels first to last, where there are few positions.
template <typename scalar_t>
struct SpreadCoefficients {
  scalar_t *gain, *mean, *slope, *shift;  // (size,), (size,), (K, size), (K, size)
  int64_t size;

  SpreadCoefficients(const NormParameters& of, int64_t tangents, int64_t first, int64_t last,
                     scalar_t* room)
      : size((last - first) * of.positions) {
    gain = room;
    mean = gain + size;
    slope = mean + size;
    shift = slope + tangents * size;
    for (int64_t k = 0; k < tangents; ++k) {
      for (int64_t c = first; c < last; ++c) {
        const auto of_channel = coefficients<scalar_t>(of, k, c);
        for (int64_t s = 0; s < of.positions; ++s) {
          const int64_t e = (c - first) * of.positions + s;
          gain[e] = of_channel.gain;
          mean[e] = of_channel.mean;
          slope[k * size + e] = of_channel.slope;
          shift[k * size + e] = of_channel.shift;
        }
      }
    }
  }

  template <typename T>
  LANDSCAPE_INLINE NormCoefficients<T> at(int64_t k, int64_t e) const {
    return {take<T>(gain + e), take<T>(mean + e), take<T>(slope + k * size + e),
            take<T>(shift + k * size + e)};
  }
};

template <typename scalar_t>
void norm_tangent(const NormTangent& of, int64_t first, int64_t last, scalar_t* room) {
  const int64_t positions = of.parameters.positions, batch = of.result.batch;
  const int64_t tangents = of.result.tangents;
  if (positions < kSpread) {
    const SpreadCoefficients<scalar_t> spread_over(of.parameters, tangents, first, last, room);
    const int64_t begin = first * positions;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t k = 0; k < tangents; ++k) {
        const auto at = pieces<scalar_t>(of, k, b);
        for_each_vector<scalar_t>(0, spread_over.size, [&](int64_t e, auto kind) {
          norm_tangent_step(at, begin + e, spread_over.template at<decltype(kind)>(k, e));
        });
      }
    }
    return;
  }
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t c = first; c < last; ++c) {
      const int64_t stop = (c + 1) * positions;
      for (int64_t begin = c * positions; begin < stop; begin += kRun<scalar_t>) {
        const int64_t end = stop - begin < kRun<scalar_t> ? stop : begin + kRun<scalar_t>;
        for (int64_t k = 0; k < tangents; ++k) {
          const auto at = pieces<scalar_t>(of, k, b);
          const auto of_channel = coefficients<scalar_t>(of.parameters, k, c);
          for_each_vector<scalar_t>(begin, end, [&](int64_t j, auto kind) {
            norm_tangent_step(at, j, spread<decltype(kind)>(of_channel));
          });
        }
      }
    }
  }
}

// Adds the terms of a run to two groups of eight sums.
template <typename scalar_t>
LANDSCAPE_INLINE void gradient_run(const NormGradientPieces<scalar_t>& at, int64_t begin,
                                   int64_t end, const NormCoefficients<scalar_t>& c, double* sums) {
  typedef Vector<scalar_t> T;
  const auto wide = spread<T>(c);
  T weight[kParts] = {}, bias[kParts] = {};
  int64_t j = begin;
  for (; j + kWide<scalar_t> <= end; j += kWide<scalar_t>) {
    for (int h = 0; h < kParts; ++h) {
      const auto terms = norm_gradient_step(at, j + h * kVector<scalar_t>, wide);
      weight[h] += terms.weight;
      bias[h] += terms.bias;
    }
  }
  scalar_t lanes[2][kWide<scalar_t>];
  __builtin_memcpy(lanes[0], weight, sizeof weight);
  __builtin_memcpy(lanes[1], bias, sizeof bias);
  for (int64_t l = 0; j < end; ++j, ++l) {
    const auto terms = norm_gradient_step(at, j, c);
    lanes[0][l] += terms.weight;
    lanes[1][l] += terms.bias;
  }
  for (int64_t g = 0; g < kWide<scalar_t>; g += kLanes) {
    add_lanes(lanes[0] + g, sums);
    add_lanes(lanes[1] + g, sums + kLanes);
  }
}

template <typename scalar_t>
void norm_gradient_long(const NormGradientTangent& of, int64_t first, int64_t last,
                        double* weight_rows, double* bias_rows, double* sums) {
  const int64_t positions = of.parameters.positions, tangents = of.first.tangents;
  for (int64_t e = 0; e < (last - first) * tangents * 2 * kLanes; ++e) sums[e] = 0.0;
  for (int64_t b = 0; b < of.first.batch; ++b) {
    for (int64_t c = first; c < last; ++c) {
      const int64_t stop = (c + 1) * positions;
      for (int64_t begin = c * positions; begin < stop; begin += kRun<scalar_t>) {
        const int64_t end = stop - begin < kRun<scalar_t> ? stop : begin + kRun<scalar_t>;
        for (int64_t k = 0; k < tangents; ++k) {
          gradient_run(pieces<scalar_t>(of, k, b), begin, end,
                       coefficients<scalar_t>(of.parameters, k, c),
                       sums + ((c - first) * tangents + k) * 2 * kLanes);
        }
      }
    }
  }
  for (int64_t k = 0; k < tangents; ++k) {
    for (int64_t c = first; c < last; ++c) {
      const double* of_channel = sums + ((c - first) * tangents + k) * 2 * kLanes;
      const int64_t out = k * of.parameters.channels + c;
      weight_rows[out] = of.parameters.scale.as<scalar_t>()[c] * join_lanes(of_channel);
      bias_rows[out] = join_lanes(of_channel + kLanes);
    }
  }
}

template <typename scalar_t>
void norm_gradient_short(const NormGradientTangent& of, int64_t first, int64_t last,
                         double* weight_rows, double* bias_rows, scalar_t* room, double* sums) {
  const int64_t positions = of.parameters.positions, tangents = of.first.tangents;
  const SpreadCoefficients<scalar_t> spread_over(of.parameters, tangents, first, last, room);
  const int64_t size = spread_over.size, begin = first * positions;
  for (int64_t e = 0; e < tangents * 2 * size; ++e) sums[e] = 0.0;
  for (int64_t b = 0; b < of.first.batch; ++b) {
    for (int64_t k = 0; k < tangents; ++k) {
      const auto at = pieces<scalar_t>(of, k, b);
      double *weight = sums + 2 * k * size, *bias = weight + size;
      int64_t e = 0;
      for (; e + kWide<scalar_t> <= size; e += kWide<scalar_t>) {
        typedef Vector<scalar_t> T;
        T lanes[2][kParts];
        for (int h = 0; h < kParts; ++h) {
          const int64_t at_part = e + h * kVector<scalar_t>;
          const auto terms =
              norm_gradient_step(at, begin + at_part, spread_over.template at<T>(k, at_part));
          lanes[0][h] = terms.weight;
          lanes[1][h] = terms.bias;
        }
        scalar_t flat[2][kWide<scalar_t>];
        __builtin_memcpy(flat, lanes, sizeof flat);
        for (int64_t g = 0; g < kWide<scalar_t>; g += kLanes) {
          add_lanes(flat[0] + g, weight + e + g);
          add_lanes(flat[1] + g, bias + e + g);
        }
      }
      for (; e < size; ++e) {
        const auto terms =
            norm_gradient_step(at, begin + e, spread_over.template at<scalar_t>(k, e));
        weight[e] += static_cast<double>(terms.weight);
        bias[e] += static_cast<double>(terms.bias);
      }
    }
  }
  for (int64_t k = 0; k < tangents; ++k) {
    for (int64_t c = first; c < last; ++c) {
      double weight = 0.0, bias = 0.0;
      for (int64_t s = 0; s < positions; ++s) {
        weight += sums[2 * k * size + (c - first) * positions + s];
        bias += sums[(2 * k + 1) * size + (c - first) * positions + s];
      }
      weight_rows[k * of.parameters.channels + c] = of.parameters.scale.as<scalar_t>()[c] * weight;
      bias_rows[k * of.parameters.channels + c] = bias;
    }
  }
}

template <typename scalar_t>
void norm_gradient(const NormGradientTangent& of, int64_t first, int64_t last, double* weight_rows,
                   double* bias_rows, scalar_t* room, double* sums) {
  if (of.parameters.positions < kSpread) {
    norm_gradient_short(of, first, last, weight_rows, bias_rows, room, sums);
  } else {
    norm_gradient_long<scalar_t>(of, first, last, weight_rows, bias_rows, sums);
  }
}

}  // namespace
}  // namespace landscape::cpu

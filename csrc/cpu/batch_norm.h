// Batch normalisation of some channels: sums over all samples, then elements. A run of positions is
// cut after 64 vectors, so that what all tangents share stays in the first cache.
#pragma once

#include "../normal.h"
#include "sums.h"

namespace landscape::cpu {
namespace {

template <typename T, typename scalar_t>
LANDSCAPE_INLINE T take_or_zero(const scalar_t* p, int64_t j) {
  return p == nullptr ? T{} : take<T>(p + j);
}

template <typename scalar_t>
LANDSCAPE_INLINE const scalar_t* sample(const Matrix& m, int64_t b) {
  return m.as<scalar_t>() + b * m.stride;
}

// What all elements of one channel share.
template <typename scalar_t>
struct Channel {
  scalar_t mean, inverse, weight;

  Channel(const BatchNorm& of, int64_t c)
      : mean(of.mean.as<scalar_t>()[c]),
        inverse(of.inverse.as<scalar_t>()[c]),
        weight(of.weight.data == nullptr ? scalar_t{1} : of.weight.as<scalar_t>()[c]) {}

  template <typename T>
  LANDSCAPE_INLINE T normal(const scalar_t* x, int64_t j) const {
    return (take<T>(x + j) - mean) * inverse;
  }
};

// The number of tangent k and channel c; zero where there is none.
template <typename scalar_t>
LANDSCAPE_INLINE scalar_t of_channel(const Matrix& rows, int64_t k, int64_t c) {
  return rows.data == nullptr ? scalar_t{0} : rows.as<scalar_t>()[k * rows.stride + c];
}

// A range of channels, and sums of theirs in eight lanes each.
template <typename scalar_t>
struct Channels {
  const BatchNorm& of;
  int64_t batch, first, last;

  double elements() const { return static_cast<double>(batch * of.positions); }

  // body(b, c, begin, end) for all runs, sample after sample
  template <typename Body>
  LANDSCAPE_INLINE void for_each(const Body& body) const {
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t c = first; c < last; ++c) {
        for_each_run<scalar_t>(c * of.positions, (c + 1) * of.positions,
                               [&](int64_t begin, int64_t end) { body(b, c, begin, end); });
      }
    }
  }

  // sums (channels, tangents, count, kLanes) = what terms(b, c, k) makes a function of the terms of
  template <int count, typename Make>
  LANDSCAPE_INLINE void sum(int64_t tangents, double* sums, const Make& terms) const {
    const auto lanes = reinterpret_cast<double (*)[kLanes]>(sums);
    for (int64_t e = 0; e < (last - first) * tangents * count * kLanes; ++e) sums[e] = 0.0;
    for_each([&](int64_t b, int64_t c, int64_t begin, int64_t end) {
      for (int64_t k = 0; k < tangents; ++k) {
        add_run<scalar_t, count>(begin, end, lanes + ((c - first) * tangents + k) * count,
                                 terms(b, c, k));
      }
    });
    // The sums themselves, one behind the other, in the room of the lanes.
    for (int64_t e = 0; e < (last - first) * tangents * count; ++e) sums[e] = join_lanes(lanes[e]);
  }
};

// Sums of `value` and of its product with n over each channel, (channels, 2).
template <typename scalar_t>
void primal_sums(const Channels<scalar_t>& channels, const Matrix& value, double* sums) {
  channels.template sum<2>(1, sums, [&](int64_t b, int64_t c, int64_t) {
    const Channel<scalar_t> own(channels.of, c);
    const scalar_t *x = sample<scalar_t>(channels.of.x, b), *v = sample<scalar_t>(value, b);
    return [=](int64_t j, auto& terms) {
      typedef Term<decltype(terms)> T;
      terms[0] = take<T>(v + j);
      terms[1] = terms[0] * own.template normal<T>(x, j);
    };
  });
}

// The same of every tangent, (channels, K, 2).
template <typename scalar_t>
void tangent_sums(const Channels<scalar_t>& channels, const Tangents& dot, double* sums) {
  channels.template sum<2>(dot.tangents, sums, [&](int64_t b, int64_t c, int64_t k) {
    const Channel<scalar_t> own(channels.of, c);
    const scalar_t *x = sample<scalar_t>(channels.of.x, b), *v = dot.piece<scalar_t>(k, b);
    return [=](int64_t j, auto& terms) {
      typedef Term<decltype(terms)> T;
      terms[0] = take<T>(v + j);
      terms[1] = terms[0] * own.template normal<T>(x, j);
    };
  });
}

template <typename scalar_t>
void batch_norm_tangent(const BatchNormTangent& of, int64_t first, int64_t last, double* sums) {
  const Channels<scalar_t> channels{of.layer, of.out.batch, first, last};
  const int64_t tangents = of.out.tangents;
  if (of.dot.data != nullptr) {
    tangent_sums<scalar_t>(channels, of.dot, sums);
  } else {
    for (int64_t e = 0; e < (last - first) * tangents * 2; ++e) sums[e] = 0.0;
  }
  channels.for_each([&](int64_t b, int64_t c, int64_t begin, int64_t end) {
    const Channel<scalar_t> own(of.layer, c);
    const scalar_t* x = sample<scalar_t>(of.layer.x, b);
    for (int64_t k = 0; k < tangents; ++k) {
      const double* means = sums + ((c - first) * tangents + k) * 2;
      const auto mean = static_cast<scalar_t>(means[0] / channels.elements());
      const auto along = static_cast<scalar_t>(means[1] / channels.elements());
      const auto slope = of_channel<scalar_t>(of.layer.weight_dot, k, c);
      const auto shift = of_channel<scalar_t>(of.bias_dot, k, c);
      const scalar_t* dot = of.dot.piece<scalar_t>(k, b);
      scalar_t* out = of.out.piece<scalar_t>(k, b);
      for_each_vector<scalar_t>(begin, end, [=](int64_t j, auto zero) {
        typedef decltype(zero) T;
        const T at = own.template normal<T>(x, j);
        const T moved = centred(take_or_zero<T>(dot, j), at, mean - T{}, along - T{}) * own.inverse;
        put(out + j, moved * own.weight + (at * slope + shift));
      });
    }
  });
}

template <typename scalar_t>
void batch_norm_gradient(const BatchNormGradientTangent& of, int64_t first, int64_t last,
                         double* weight_rows, double* bias_rows, double* sums) {
  const Channels<scalar_t> channels{of.layer, of.out.batch, first, last};
  const int64_t tangents = of.out.tangents;
  const double n = channels.elements();
  double* arriving_sums = sums + (last - first) * tangents * kBatchNormSums * kLanes;
  primal_sums<scalar_t>(channels, of.delta, arriving_sums);
  // delta without its mean and its part along n
  const auto centred_delta = [&](int64_t c) {
    const double* own = arriving_sums + (c - first) * 2;
    const auto mean = static_cast<scalar_t>(own[0] / n), along = static_cast<scalar_t>(own[1] / n);
    return [=](auto delta, auto normal) {
      typedef decltype(delta) T;
      return centred(delta, normal, mean - T{}, along - T{});
    };
  };
  channels.template sum<kBatchNormSums>(tangents, sums, [&](int64_t b, int64_t c, int64_t k) {
    const Channel<scalar_t> own(of.layer, c);
    const auto q = centred_delta(c);
    const scalar_t *x = sample<scalar_t>(of.layer.x, b), *delta = sample<scalar_t>(of.delta, b);
    const scalar_t *delta_dot = of.delta_dot.piece<scalar_t>(k, b),
                   *x_dot = of.x_dot.piece<scalar_t>(k, b);
    return [=](int64_t j, auto& terms) {
      typedef Term<decltype(terms)> T;
      const T at = own.template normal<T>(x, j);
      terms[0] = take_or_zero<T>(delta_dot, j);
      terms[1] = terms[0] * at;
      terms[2] = take_or_zero<T>(x_dot, j);
      terms[3] = terms[2] * at;
      terms[4] = terms[2] * q(take<T>(delta + j), at);
    };
  });
  for (int64_t k = 0; k < tangents; ++k) {
    for (int64_t c = first; c < last; ++c) {
      const double* of_tangent = sums + ((c - first) * tangents + k) * kBatchNormSums;
      const double inverse = of.layer.inverse.as<scalar_t>()[c];
      weight_rows[k * of.layer.channels + c] = of_tangent[1] + inverse * of_tangent[4];
      bias_rows[k * of.layer.channels + c] = of_tangent[0];
    }
  }
  channels.for_each([&](int64_t b, int64_t c, int64_t begin, int64_t end) {
    const Channel<scalar_t> own(of.layer, c);
    const auto q = centred_delta(c);
    const double* arriving = arriving_sums + (c - first) * 2;
    const scalar_t *x = sample<scalar_t>(of.layer.x, b), *delta = sample<scalar_t>(of.delta, b);
    for (int64_t k = 0; k < tangents; ++k) {
      const auto slope = of_channel<scalar_t>(of.layer.weight_dot, k, c);
      const auto coefficients =
          channel_coefficients<scalar_t>(sums + ((c - first) * tangents + k) * kBatchNormSums,
                                         arriving, n, own.inverse, own.weight, slope);
      const scalar_t *delta_dot = of.delta_dot.piece<scalar_t>(k, b),
                     *x_dot = of.x_dot.piece<scalar_t>(k, b);
      scalar_t* out = of.out.piece<scalar_t>(k, b);
      for_each_vector<scalar_t>(begin, end, [=](int64_t j, auto zero) {
        typedef decltype(zero) T;
        const T at = own.template normal<T>(x, j), value = take<T>(delta + j);
        const T moved = centred(take_or_zero<T>(x_dot, j), at, coefficients.mean - T{},
                                coefficients.along - T{}) *
                        coefficients.inverse;
        const T scaled = take_or_zero<T>(delta_dot, j) * own.weight + value * slope;
        put(out + j, gradient_element(coefficients, scaled, at, moved, q(value, at) * own.weight));
      });
    }
  });
}

template <typename scalar_t>
void batch_norm_form(const BatchNormQuadratic& of, int64_t first, int64_t last, double* forms,
                     double* sums) {
  const Channels<scalar_t> channels{of.layer, of.dot.batch, first, last};
  const int64_t tangents = of.dot.tangents;
  const double n = channels.elements();
  double* means = sums + (last - first) * tangents * 2 * kLanes;
  double* own_sums = means + (last - first) * tangents * 2 * kLanes;
  tangent_sums<scalar_t>(channels, of.dot, means);
  channels.template sum<2>(1, own_sums, [&](int64_t b, int64_t c, int64_t) {
    const Channel<scalar_t> own(of.layer, c);
    const scalar_t *x = sample<scalar_t>(of.layer.x, b), *adjoint = sample<scalar_t>(of.adjoint, b);
    return [=](int64_t j, auto& terms) {
      typedef Term<decltype(terms)> T;
      const T at = own.template normal<T>(x, j);
      terms[0] = at * at;
      terms[1] = at * take<T>(adjoint + j);
    };
  });
  channels.template sum<2>(tangents, sums, [&](int64_t b, int64_t c, int64_t k) {
    const Channel<scalar_t> own(of.layer, c);
    const double* of_tangent = means + ((c - first) * tangents + k) * 2;
    const auto mean = static_cast<scalar_t>(of_tangent[0] / n);
    const auto along = static_cast<scalar_t>(of_tangent[1] / n);
    const scalar_t *x = sample<scalar_t>(of.layer.x, b), *adjoint = sample<scalar_t>(of.adjoint, b);
    const scalar_t* dot = of.dot.piece<scalar_t>(k, b);
    return [=](int64_t j, auto& terms) {
      typedef Term<decltype(terms)> T;
      const T u = centred(take<T>(dot + j), own.template normal<T>(x, j), mean - T{}, along - T{});
      terms[0] = u * u;
      terms[1] = u * take<T>(adjoint + j);
    };
  });
  for (int64_t c = first; c < last; ++c) {
    const Channel<scalar_t> own(of.layer, c);
    const double* straight = own_sums + (c - first) * 2;
    for (int64_t k = 0; k < tangents; ++k) {
      const int64_t e = (c - first) * tangents + k;
      const double turned = sums[e * 2 + 1], weight = own.weight;
      forms[k * of.layer.channels + c] = set_form(
          own.inverse, means[e * 2 + 1] / n, sums[e * 2] / n, straight[0] / n, weight * turned,
          weight * straight[1], of_channel<scalar_t>(of.layer.weight_dot, k, c) * turned);
    }
  }
}

}  // namespace
}  // namespace landscape::cpu

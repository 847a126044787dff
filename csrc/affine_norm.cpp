#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

// Channels that one call walks through all samples: enough that its reads are streams, few enough
// that their sums stay in cache.
int64_t channels_together(int64_t positions) {
  constexpr int64_t kElements = 512;
  return std::max<int64_t>(1, kElements / std::max<int64_t>(1, positions));
}

// One thread's room for `together` channels.
template <typename scalar_t>
struct Room {
  std::vector<scalar_t> coefficients;  // (2 + 2 K, channels positions), where positions are few
  std::vector<double> sums;            // (K, 2, channels, max(positions, kLanes))

  Room(const NormParameters& of, int64_t tangents, int64_t together, bool summed) {
    const int64_t elements = together * std::max(of.positions, cpu::kLanes);
    if (of.positions < cpu::kSpread) coefficients.resize((2 + 2 * tangents) * elements);
    const int64_t lanes = of.positions < cpu::kSpread ? elements : together * cpu::kLanes;
    if (summed) sums.resize(2 * tangents * lanes);
  }
};

// body(first channel, last channel, room) for all channels
template <typename scalar_t, typename Body>
void for_each_channels(const NormParameters& of, const Tangents& shape, bool summed,
                       const Body& body) {
  const int64_t together = std::min(channels_together(of.positions), of.channels);
  if (together == 0) return;
  const int64_t tasks = (of.channels + together - 1) / together;
  const int threads = static_cast<int>(
      std::min<int64_t>(tasks, cpu::threads_for(shape.tangents * shape.batch * shape.size)));
  std::vector<Room<scalar_t>> rooms(threads, {of, shape.tangents, together, summed});
  cpu::for_each_task(tasks, threads, [&](int64_t task, int thread) {
    body(task * together, std::min(of.channels, (task + 1) * together), rooms[thread]);
  });
}

template <typename scalar_t>
void tangent_on_cpu(const NormTangent& of) {
  for_each_channels<scalar_t>(
      of.parameters, of.result, false, [&](int64_t first, int64_t last, Room<scalar_t>& room) {
        cpu::kernels<scalar_t>().norm_tangent(of, first, last, room.coefficients.data());
      });
}

template <typename scalar_t>
void gradient_on_cpu(const NormGradientTangent& of, double* weight_rows, double* bias_rows) {
  for_each_channels<scalar_t>(
      of.parameters, of.first, true, [&](int64_t first, int64_t last, Room<scalar_t>& room) {
        cpu::kernels<scalar_t>().norm_gradient(of, first, last, weight_rows, bias_rows,
                                               room.coefficients.data(), room.sums.data());
      });
}

}  // namespace

void affine_norm_tangent(const NormTangent& of) {
  if constexpr (cuda::kBuilt) {
    if (of.result.device.cuda) return cuda::affine_norm_tangent(of);
  }
  (of.result.scalar == Scalar::float32 ? tangent_on_cpu<float> : tangent_on_cpu<double>)(of);
}

int64_t affine_norm_gradient_tangent_scratch(const NormGradientTangent& of) {
  if constexpr (cuda::kBuilt) {
    if (of.first.device.cuda) return cuda::affine_norm_gradient_tangent_scratch(of.first);
  }
  return 0;
}

void affine_norm_gradient_tangent(const NormGradientTangent& of, double* weight_rows,
                                  double* bias_rows, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (of.first.device.cuda) {
      return cuda::affine_norm_gradient_tangent(of, weight_rows, bias_rows, scratch);
    }
  }
  (of.first.scalar == Scalar::float32 ? gradient_on_cpu<float>
                                      : gradient_on_cpu<double>)(of, weight_rows, bias_rows);
}

}  // namespace landscape

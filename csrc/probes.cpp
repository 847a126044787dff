#include <cmath>

#include "ops.h"
#include "philox.h"

namespace landscape {
namespace {

constexpr uint64_t kNormalStream = uint64_t{1} << 63;

template <typename scalar_t>
void fill_signs(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
#pragma omp parallel for
  for (int64_t i = 0; i < out.rows; ++i) {
    scalar_t* row = out.as<scalar_t>() + i * out.stride;
    Words words{};
    for (int64_t j = 0; j < out.columns; ++j) {
      const uint64_t entry = first_entry + j;
      if (j == 0 || (entry & 127) == 0) words = philox(entry >> 7, first_row + i, seed);
      const uint32_t bit = (words.w[(entry >> 5) & 3] >> (entry & 31)) & 1u;
      row[j] = bit ? scalar_t{-1} : scalar_t{1};
    }
  }
}

template <typename scalar_t>
void fill_normals(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
#pragma omp parallel for
  for (int64_t i = 0; i < out.rows; ++i) {
    scalar_t* row = out.as<scalar_t>() + i * out.stride;
    for (int64_t j = 0; j < out.columns; ++j) {
      const uint64_t entry = first_entry + j;
      const Words words = philox((entry >> 2) | kNormalStream, first_row + i, seed);
      const uint32_t* pair = words.w + (entry & 2);
      const double radius = std::sqrt(-2.0 * std::log((pair[0] + 0.5) * 0x1p-32));
      const double angle = 6.283185307179586 * (pair[1] * 0x1p-32);
      row[j] = static_cast<scalar_t>(radius * (entry & 1 ? std::sin(angle) : std::cos(angle)));
    }
  }
}

}  // namespace

void signs(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
  const auto run = out.scalar == Scalar::float32 ? fill_signs<float> : fill_signs<double>;
  run(out, seed, first_row, first_entry);
}

void normals(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
  const auto run = out.scalar == Scalar::float32 ? fill_normals<float> : fill_normals<double>;
  run(out, seed, first_row, first_entry);
}

}  // namespace landscape

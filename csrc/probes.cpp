#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

template <typename scalar_t, typename Fill>
void fill_block(const Matrix& out, Fill fill, uint64_t seed, uint64_t first_row,
                uint64_t first_entry) {
  const Segments cut = cpu::segments(out.columns);
  cpu::for_each_task(
      out.rows * cut.count, cpu::threads_for(out.rows * out.columns), [&](int64_t task, int) {
        const int64_t i = task / cut.count, begin = cut.begin(task % cut.count);
        fill(out.as<scalar_t>() + i * out.stride + begin, cut.end(task % cut.count) - begin, seed,
             first_row + i, first_entry + begin);
      });
}

}  // namespace

void signs(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
  if constexpr (cuda::kBuilt) {
    if (out.device.cuda) return cuda::signs(out, seed, first_row, first_entry);
  }
  if (out.scalar == Scalar::float32) {
    fill_block<float>(out, cpu::kernels<float>().signs, seed, first_row, first_entry);
  } else {
    fill_block<double>(out, cpu::kernels<double>().signs, seed, first_row, first_entry);
  }
}

void normals(const Matrix& out, uint64_t seed, uint64_t first_row, uint64_t first_entry) {
  if constexpr (cuda::kBuilt) {
    if (out.device.cuda) return cuda::normals(out, seed, first_row, first_entry);
  }
  if (out.scalar == Scalar::float32) {
    fill_block<float>(out, cpu::kernels<float>().normals, seed, first_row, first_entry);
  } else {
    fill_block<double>(out, cpu::kernels<double>().normals, seed, first_row, first_entry);
  }
}

}  // namespace landscape

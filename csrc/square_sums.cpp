#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

constexpr int64_t kColumns = 1024;  // of a task: its sums stay in the first cache
constexpr int64_t kRows = 1024;     // likewise, so that tall blocks have several tasks too

template <typename scalar_t>
void on_cpu(const Tangents& block, double* sums) {
  const auto add = cpu::kernels<scalar_t>().add_squares;
  const int64_t rows = block.tangents * block.batch, n = block.size;
  const int64_t across = (n + kColumns - 1) / kColumns, down = (rows + kRows - 1) / kRows;
  std::vector<double> partials(down > 1 ? down * n : 0);
  std::fill(sums, sums + n, 0.0);
  cpu::for_each_task(across * down, cpu::threads_for(rows * n), [&](int64_t task, int) {
    const int64_t first = task % across * kColumns, chunk = task / across;
    const int64_t width = std::min(kColumns, n - first);
    const int64_t end = std::min(rows, (chunk + 1) * kRows);
    double* into = (down > 1 ? partials.data() + chunk * n : sums) + first;
    for (int64_t r = chunk * kRows; r < end; r += cpu::kSquareRows) {
      const scalar_t* pieces[cpu::kSquareRows];
      const int64_t count = std::min(cpu::kSquareRows, end - r);
      for (int64_t i = 0; i < count; ++i) {
        pieces[i] = block.piece<scalar_t>((r + i) / block.batch, (r + i) % block.batch) + first;
      }
      add(pieces, count, width, into);
    }
  });
  for (size_t e = 0; e < partials.size(); ++e) sums[e % n] += partials[e];
}

}  // namespace

int64_t square_sums_scratch(const Tangents& block) {
  if constexpr (cuda::kBuilt) {
    if (block.device.cuda) return cuda::square_sums_scratch(block);
  }
  return 0;
}

void square_sums(const Tangents& block, double* sums, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (block.device.cuda) return cuda::square_sums(block, sums, scratch);
  }
  (block.scalar == Scalar::float32 ? on_cpu<float> : on_cpu<double>)(block, sums);
}

}  // namespace landscape

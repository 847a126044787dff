#include "sweep.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace landscape::cpu {
namespace {

// Columns per tile. The packed rows of the block fill a third of the first cache; the basis' rows
// stay in the second one between update and products. Changes no result.
int64_t tile_width(int64_t k, int64_t m) {
  constexpr int64_t kBlockEntries = 2048, kBasisEntries = 131072, kNarrowest = 256, kWidest = 512;
  const int64_t width = std::min(kBlockEntries / std::min(k, kGroupRows), kBasisEntries / m);
  return std::clamp(width / kLanes * kLanes, kNarrowest, kWidest);
}

// One thread's room.
template <typename scalar_t>
struct Workspace {
  std::vector<double> packed;    // (min(k, kGroupRows), width)
  std::vector<double> sums;      // (k, m, kLanes), where inner products are wanted
  std::vector<scalar_t> padded;  // (k + m, kLanes), the last columns filled up with zeros

  Workspace(int64_t k, int64_t m, int64_t width, bool dots)
      : packed(std::min(k, kGroupRows) * width),
        sums(dots ? k * m * kLanes : 0),
        padded((k + m) * kLanes) {}
};

template <typename scalar_t>
void copy_columns(const scalar_t* from, int64_t from_stride, scalar_t* to, int64_t to_stride,
                  int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(to + i * to_stride, from + i * from_stride, columns * sizeof(scalar_t));
  }
}

template <typename scalar_t>
class Sweep {
 public:
  Sweep(const Matrix& y, const double* c, const Matrix& basis, bool dots)
      : k_(y.rows),
        m_(basis.rows),
        y_(y.as<scalar_t>()),
        y_stride_(y.stride),
        basis_(basis.as<scalar_t>()),
        basis_stride_(basis.stride),
        c_(c),
        dots_(dots),
        width_(tile_width(k_, m_)),
        kernels_(kernels<scalar_t>()) {}

  Workspace<scalar_t> workspace() const { return {k_, m_, width_, dots_}; }

  // Columns [begin, end), with begin a multiple of kLanes; partial: (k, m) or null
  void segment(int64_t begin, int64_t end, Workspace<scalar_t>& room, double* partial) const {
    std::fill(room.sums.begin(), room.sums.end(), 0.0);
    const int64_t whole = begin + (end - begin) / kLanes * kLanes;
    for (int64_t j = begin; j < whole; j += width_) {
      tile(y_ + j, y_stride_, basis_ + j, basis_stride_, std::min(width_, whole - j), room);
    }
    if (whole < end) last_columns(whole, end - whole, room);
    if (!dots_) return;
    for (int64_t e = 0; e < k_ * m_; ++e) partial[e] = join_lanes(&room.sums[e * kLanes]);
  }

 private:
  void tile(scalar_t* y, int64_t y_stride, const scalar_t* basis, int64_t basis_stride,
            int64_t width, Workspace<scalar_t>& room) const {
    if (c_ != nullptr) {
      kernels_.tile_update(y, y_stride, k_, c_, m_, basis, basis_stride, m_, width,
                           room.packed.data());
    }
    if (dots_) {
      kernels_.tile_dots(y, y_stride, k_, basis, basis_stride, m_, width, room.packed.data(),
                         room.sums.data());
    }
  }

  void last_columns(int64_t j, int64_t count, Workspace<scalar_t>& room) const {
    scalar_t *y = room.padded.data(), *basis = y + k_ * kLanes;
    copy_columns<scalar_t>(y_ + j, y_stride_, y, kLanes, k_, count);
    copy_columns<scalar_t>(basis_ + j, basis_stride_, basis, kLanes, m_, count);
    tile(y, kLanes, basis, kLanes, kLanes, room);
    if (c_ != nullptr) copy_columns<scalar_t>(y, kLanes, y_ + j, y_stride_, k_, count);
  }

  int64_t k_, m_;
  scalar_t* y_;
  int64_t y_stride_;
  const scalar_t* basis_;
  int64_t basis_stride_;
  const double* c_;
  bool dots_;
  int64_t width_;
  const Kernels<scalar_t>& kernels_;
};

// dots[e] = sum of partials[s][e] over s in ascending order
void join_segments(const std::vector<double>& partials, int64_t count, int64_t rows,
                   int64_t columns, double* dots) {
  const int64_t size = rows * columns;
  for_each_task(rows, threads_for(count * size), [&](int64_t i, int) {
    double* out = dots + i * columns;
    std::fill(out, out + columns, 0.0);
    for (int64_t s = 0; s < count; ++s) {
      const double* partial = partials.data() + s * size + i * columns;
      for (int64_t l = 0; l < columns; ++l) out[l] += partial[l];
    }
  });
}

}  // namespace

int64_t panel_rows(int64_t m) {
  constexpr int64_t kSums = 4096, kFewest = 4, kMost = 64;
  return std::clamp(kSums / std::max<int64_t>(m, 1), kFewest, kMost);
}

template <typename scalar_t>
void sweep(const Matrix& y, const double* c, const Matrix& basis, double* dots) {
  const int64_t size = y.rows * basis.rows;
  if (size == 0 || y.columns == 0) {
    if (dots != nullptr) std::fill(dots, dots + size, 0.0);
    return;
  }
  const Sweep<scalar_t> pass(y, c, basis, dots != nullptr);
  const Segments cut = segments(y.columns);
  const int threads = static_cast<int>(std::min<int64_t>(threads_for(size * y.columns), cut.count));
  std::vector<Workspace<scalar_t>> rooms(threads, pass.workspace());
  std::vector<double> partials(dots != nullptr ? cut.count * size : 0);
  for_each_task(cut.count, threads, [&](int64_t s, int thread) {
    pass.segment(cut.begin(s), cut.end(s), rooms[thread], partials.data() + s * size);
  });
  if (dots != nullptr) join_segments(partials, cut.count, y.rows, basis.rows, dots);
}

template void sweep<float>(const Matrix&, const double*, const Matrix&, double*);
template void sweep<double>(const Matrix&, const double*, const Matrix&, double*);

}  // namespace landscape::cpu

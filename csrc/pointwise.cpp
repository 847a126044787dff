#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "kernels.h"
#include "ops.h"

namespace landscape {
namespace {

// Cuts a primal of `rows` rows into tiles of some whole rows, or of a part of one; by its shape
// alone.
struct Tiles {
  static constexpr int64_t kElements = 4096;

  int64_t rows, columns, height, width, across, count;

  Tiles(int64_t rows, int64_t columns) : rows(rows), columns(columns) {
    width = std::clamp<int64_t>(columns, 1, kElements);
    height = kElements / width;
    across = (columns + width - 1) / width;
    count = (rows + height - 1) / height * across;
  }
};

struct Tile {
  int64_t first_row, last_row, column, columns;

  Tile(const Tiles& of, int64_t task)
      : first_row(task / of.across * of.height),
        last_row(std::min(of.rows, first_row + of.height)),
        column(task % of.across * of.width),
        columns(std::min(of.columns - column, of.width)) {}
};

// A block whose rows follow one another is one row per tangent.
bool is_one_row(const Tangents& t) {
  return t.data == nullptr || t.batch <= 1 || t.batch_stride == t.size;
}

Tangents as_one_row(Tangents t) {
  t.size *= t.batch;
  t.batch = 1;
  return t;
}

Matrix as_one_row(const Matrix& m) {
  return {m.data, 1, m.rows * m.columns, m.rows * m.columns, m.scalar, m.device};
}

// One thread's room for the factors of a tile, its rows one after another.
template <typename scalar_t>
struct Factors {
  std::vector<scalar_t> slopes, bends;  // empty where no tangent needs them

  Factors(const Pointwise& of, const Tiles& tiles)
      : slopes(of.delta_dot.data != nullptr ? tiles.height * tiles.width : 0),
        bends(of.z_dot.data != nullptr ? tiles.height * tiles.width : 0) {}

  void fill(const Pointwise& of, const Tile& tile) {
    const auto at = [&](const Matrix& m) {
      return m.data == nullptr ? nullptr
                               : m.as<scalar_t>() + tile.first_row * m.stride + tile.column;
    };
    // A tile has several rows only if it has all their columns, which makes them adjacent.
    const int64_t n = (tile.last_row - tile.first_row) * tile.columns;
    cpu::kernels<scalar_t>().activation_factors(of.kind, at(of.z), at(of.weight), n,
                                                slopes.empty() ? nullptr : slopes.data(),
                                                bends.empty() ? nullptr : bends.data());
  }
};

// body(tile, its factors) for all tiles
template <typename scalar_t, typename Body>
void for_each_tile(const Pointwise& of, const Tangents& shape, const Tiles& tiles,
                   const Body& body) {
  const int threads = static_cast<int>(
      std::min<int64_t>(tiles.count, cpu::threads_for(shape.tangents * shape.batch * shape.size)));
  std::vector<Factors<scalar_t>> rooms(threads, {of, tiles});
  cpu::for_each_task(tiles.count, threads, [&](int64_t task, int thread) {
    const Tile tile(tiles, task);
    rooms[thread].fill(of, tile);
    body(task, tile, rooms[thread]);
  });
}

template <typename scalar_t>
void tangent_on_cpu(const Pointwise& given) {
  Pointwise of = given;
  if (is_one_row(of.out) && is_one_row(of.z_dot) && is_one_row(of.delta_dot)) {
    of.out = as_one_row(of.out);
    of.z_dot = as_one_row(of.z_dot);
    of.delta_dot = as_one_row(of.delta_dot);
    of.z = as_one_row(of.z);
    of.weight = as_one_row(of.weight);
  }
  const auto apply = cpu::kernels<scalar_t>().activation_tangent;
  const Tangents& shape = of.out;
  const Tiles tiles(shape.batch, shape.size);
  for_each_tile<scalar_t>(
      of, shape, tiles, [&](int64_t, const Tile& tile, const Factors<scalar_t>& factors) {
        for (int64_t k = 0; k < shape.tangents; ++k) {
          for (int64_t r = tile.first_row; r < tile.last_row; ++r) {
            const int64_t place = (r - tile.first_row) * tile.columns;
            const auto at = [&](const Tangents& t) {
              scalar_t* piece = t.piece<scalar_t>(k, r);
              return piece == nullptr ? nullptr : piece + tile.column;
            };
            apply(factors.bends.data() + place, at(of.z_dot), factors.slopes.data() + place,
                  at(of.delta_dot), at(of.out), tile.columns);
          }
        }
      });
}

template <typename scalar_t>
void quadratic_on_cpu(const Pointwise& of, double* forms) {
  const auto square = cpu::kernels<scalar_t>().weighted_square;
  const Tangents& shape = of.z_dot;
  std::fill(forms, forms + shape.tangents, 0.0);
  if (shape.tangents * shape.batch * shape.size == 0) return;
  const Tiles tiles(shape.batch, shape.size);
  std::vector<double> partials(tiles.count * shape.tangents);
  for_each_tile<scalar_t>(
      of, shape, tiles, [&](int64_t task, const Tile& tile, const Factors<scalar_t>& factors) {
        for (int64_t k = 0; k < shape.tangents; ++k) {
          double sum = 0.0;
          for (int64_t r = tile.first_row; r < tile.last_row; ++r) {
            sum += square(factors.bends.data() + (r - tile.first_row) * tile.columns,
                          of.z_dot.piece<scalar_t>(k, r) + tile.column, tile.columns);
          }
          partials[task * shape.tangents + k] = sum;
        }
      });
  for (int64_t e = 0; e < tiles.count * shape.tangents; ++e) {
    forms[e % shape.tangents] += partials[e];
  }
}

}  // namespace

void pointwise_tangent(const Pointwise& of) {
  if (of.out.tangents * of.out.batch * of.out.size == 0) return;
  if constexpr (cuda::kBuilt) {
    if (of.out.device.cuda) return cuda::pointwise_tangent(of);
  }
  (of.out.scalar == Scalar::float32 ? tangent_on_cpu<float> : tangent_on_cpu<double>)(of);
}

int64_t pointwise_quadratic_scratch(const Pointwise& of) {
  if constexpr (cuda::kBuilt) {
    if (of.z_dot.device.cuda) return cuda::pointwise_quadratic_scratch(of.z_dot);
  }
  return 0;
}

void pointwise_quadratic(const Pointwise& of, double* forms, double* scratch) {
  if constexpr (cuda::kBuilt) {
    if (of.z_dot.device.cuda) return cuda::pointwise_quadratic(of, forms, scratch);
  }
  (of.z_dot.scalar == Scalar::float32 ? quadratic_on_cpu<float> : quadratic_on_cpu<double>)(of,
                                                                                            forms);
}

}  // namespace landscape

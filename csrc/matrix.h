// What an operation is given: plain pointers with shapes, already checked.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shared.h"

namespace landscape {

enum class Scalar { float32, float64 };

struct Device {
  bool cuda;
  int index;     // 0 on the CPU
  void* stream;  // cudaStream_t of the caller, null on the CPU
};

// Rows of `columns` adjacent elements each; row i starts at data + i * stride elements.
struct Matrix {
  void* data;
  int64_t rows;
  int64_t columns;
  int64_t stride;
  Scalar scalar;
  Device device;

  template <typename scalar_t>
  LANDSCAPE_SHARED scalar_t* as() const {
    return static_cast<scalar_t*>(data);
  }

  Matrix some_rows(int64_t first, int64_t count) const {
    const int64_t size = scalar == Scalar::float32 ? 4 : 8;
    return {
        static_cast<char*>(data) + first * stride * size, count, columns, stride, scalar, device};
  }
};

// body(rows first to first + most of m, first) until all rows are through
template <typename Body>
void for_each_panel(const Matrix& m, int64_t most, const Body& body) {
  for (int64_t first = 0; first < m.rows; first += most) {
    body(m.some_rows(first, std::min(most, m.rows - first)), first);
  }
}

}  // namespace landscape

// What an operation is given: plain pointers with shapes, already checked.
#pragma once

#include <cstdint>

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
  scalar_t* as() const {
    return static_cast<scalar_t*>(data);
  }
};

}  // namespace landscape

// Tensors as checked matrices. Every check of an argument lives here and names the argument.
//
// A tensor is read through the DLPack C exchange table of its type; a torch that has no such table
// is asked for pointer, shape and strides as Python integers instead. No torch header is involved,
// so one build serves every torch version.
#pragma once

#include <pybind11/pybind11.h>

#include <initializer_list>

#include "matrix.h"

namespace landscape {

namespace py = pybind11;

// A tensor that came from the caller, and the name to blame in errors.
struct TensorView {
  py::handle object;
  const char* name;
  Matrix matrix;  // a vector of n elements has 1 row and n columns
};

// View of a 2-D float32 or float64 tensor whose rows are contiguous. Raises TypeError (no tensor,
// other dtype) or ValueError (other layout, requires_grad, negative bit, no memory behind it).
TensorView view_block(py::handle tensor, const char* name);

void require_same_kind(const TensorView& view, const TensorView& reference);
void require_rows(const TensorView& view, int64_t rows, const char* meaning);
void require_columns(const TensorView& view, int64_t columns, const char* meaning);
void require_float64(const TensorView& view);
void require_same_device(const TensorView& view, const TensorView& reference);
void require_disjoint(const TensorView& written, const TensorView& read);

// A new contiguous float64 tensor and its memory.
struct NewTensor {
  py::object object;
  double* data;
};

// On the device of `like`, from torch's own allocator: it follows streams and CUDA graph capture.
NewTensor new_float64(const TensorView& like, std::initializer_list<int64_t> shape);

}  // namespace landscape

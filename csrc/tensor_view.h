// Tensors as checked matrices. Every check of an argument lives here and names the argument.
#pragma once

#include <pybind11/pybind11.h>

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

}  // namespace landscape

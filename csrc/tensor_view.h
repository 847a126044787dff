// Tensors as checked matrices. Every check of an argument lives here and names the argument.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "exchange.h"
#include "matrix.h"

namespace landscape {

namespace py = pybind11;

template <typename Error>
[[noreturn]] void refuse(const char* name, const std::string& what) {
  throw Error(std::string(name) + " " + what);
}

inline std::string text(py::handle object) { return py::str(object).cast<std::string>(); }

// A tensor of any shape that is float32 or float64 and has memory that may be read.
struct Argument {
  py::handle object;
  const char* name;
  Facts facts;
  Scalar scalar;
  Device device;
};

// Raises TypeError (no tensor, other dtype), ValueError (requires_grad, negative bit, no memory
// behind it, other device) or RuntimeError (a CUDA tensor and no kernels).
Argument ask(py::handle tensor, const char* name);

// A tensor that came from the caller, and the name to blame in errors.
struct TensorView {
  py::handle object;
  const char* name;
  Matrix matrix;  // a vector of n elements has 1 row and n columns
};

// View of a 2-D tensor whose rows are contiguous; raises ValueError for any other.
TensorView view_block(py::handle tensor, const char* name);

void require_same_kind(const TensorView& view, const TensorView& reference);
void require_rows(const TensorView& view, int64_t rows, const char* meaning);
void require_columns(const TensorView& view, int64_t columns, const char* meaning);
void require_float64(const TensorView& view);
void require_same_device(const TensorView& view, const TensorView& reference);
void require_disjoint(const TensorView& written, const TensorView& read);

}  // namespace landscape

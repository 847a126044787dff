// The arguments of an operation on blocks of K tangents, held to the shape, dtype and device of one
// of them. Errors name the argument.
#pragma once

#include <vector>

#include "tangents.h"
#include "tensor_view.h"

namespace landscape {

class TangentArguments {
 public:
  // `block` sets what the others are held to: (K, B, ...) with `dims` dimensions, 3 or 4, and all
  // behind the first two contiguous. Call tangents() for it too.
  TangentArguments(py::handle block, const char* name, int dims);

  int64_t extent(int dim) const { return shape_[dim]; }

  // A block of the same shape, any stride over K and over B.
  Tangents tangents(py::handle tensor, const char* name);
  // What the block is a tangent of: its shape without K, contiguous. (B, rest)
  Matrix primal(py::handle tensor, const char* name);
  // One number per index of dimension `dim`, contiguous. (1, extent)
  Matrix vector(py::handle tensor, const char* name, int dim);
  // One row per tangent, one column per index of dimension `dim`; rows contiguous.
  Matrix rows(py::handle tensor, const char* name, int dim);

  // Says that `name` is written: its pieces may not meet each other, nor another argument, except
  // those in `same`, which may be the very same block.
  void require_writable(const char* name, std::initializer_list<const char*> same = {}) const;

 private:
  struct Seen {
    const char* name;
    Tangents block;  // everything as pieces
  };

  Argument ask_alike(py::handle tensor, const char* name) const;
  void require_shape(const Argument& argument, std::initializer_list<int64_t> shape) const;
  void require_contiguous(const Argument& argument, int from) const;
  const Seen& find(const char* name) const;

  const char* reference_;
  int dims_;
  int64_t shape_[kMostDims];
  Scalar scalar_;
  Device device_;
  std::vector<Seen> seen_;
};

// No data where the argument is None.
template <typename View>
auto unless_none(const py::object& tensor, const View& view) -> decltype(view()) {
  return tensor.is_none() ? decltype(view()){} : view();
}

}  // namespace landscape

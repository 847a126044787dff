// The module. Its functions view the arguments, allocate, and run without the GIL; those on blocks
// of tangents are in tangent_bindings.cpp.
#include "cpu/kernels.h"
#include "exchange.h"
#include "kernels.h"
#include "ops.h"
#include "squares_bindings.h"
#include "tangent_bindings.h"
#include "tensor_view.h"

namespace landscape {
namespace {

NewTensor new_result(const TensorView& like, std::initializer_list<int64_t> shape) {
  return new_float64(like.object, like.matrix.device, shape);
}

// Operations on the CPU need none.
NewTensor new_scratch(const TensorView& like, int64_t size) {
  return size == 0 ? NewTensor{py::none(), nullptr} : new_result(like, {size});
}

template <typename Operation>
py::object fill(Operation operation, const py::object& out, uint64_t seed, uint64_t first_row,
                uint64_t first_entry) {
  const TensorView view = view_block(out, "out");
  {
    const py::gil_scoped_release unlocked;
    operation(view.matrix, seed, first_row, first_entry);
  }
  return out;
}

py::object bind_signs(const py::object& out, uint64_t seed, uint64_t row, uint64_t entry) {
  return fill(signs, out, seed, row, entry);
}

py::object bind_normals(const py::object& out, uint64_t seed, uint64_t row, uint64_t entry) {
  return fill(normals, out, seed, row, entry);
}

py::object bind_row_dots(const py::object& x, const py::object& y) {
  const TensorView a = view_block(x, "x"), b = view_block(y, "y");
  require_same_kind(b, a);
  require_rows(b, a.matrix.rows, "as x has");
  require_columns(b, a.matrix.columns, "as x has");
  const NewTensor dots = new_result(a, {a.matrix.rows});
  const NewTensor scratch = new_scratch(a, row_dots_scratch(a.matrix, b.matrix));
  {
    const py::gil_scoped_release unlocked;
    row_dots(a.matrix, b.matrix, dots.data, scratch.data);
  }
  return dots.object;
}

py::object bind_block_dots(const py::object& x, const py::object& y) {
  const TensorView a = view_block(x, "x"), b = view_block(y, "y");
  require_same_kind(b, a);
  require_columns(b, a.matrix.columns, "as x has");
  const NewTensor dots = new_result(a, {a.matrix.rows, b.matrix.rows});
  const NewTensor scratch = new_scratch(a, block_dots_scratch(a.matrix, b.matrix));
  {
    const py::gil_scoped_release unlocked;
    block_dots(a.matrix, b.matrix, dots.data, scratch.data);
  }
  return dots.object;
}

void bind_block_update(const py::object& y, const py::object& coefficients,
                       const py::object& basis) {
  const TensorView target = view_block(y, "y"), c = view_block(coefficients, "coefficients"),
                   b = view_block(basis, "basis");
  require_float64(c);
  require_same_device(c, target);
  require_same_kind(b, target);
  require_columns(b, target.matrix.columns, "as y has");
  require_rows(c, target.matrix.rows, "as y has");
  require_columns(c, b.matrix.rows, "one per row of basis");
  require_disjoint(target, b);
  require_disjoint(target, c);
  const py::gil_scoped_release unlocked;
  block_update(target.matrix, c.matrix, b.matrix);
}

py::object bind_orthogonalise(const py::object& block, const py::object& basis) {
  const TensorView a = view_block(block, "block"), b = view_block(basis, "basis");
  require_same_kind(b, a);
  require_columns(b, a.matrix.columns, "as block has");
  require_disjoint(a, b);
  const NewTensor coefficients = new_result(a, {a.matrix.rows, b.matrix.rows});
  const NewTensor scratch = new_scratch(a, orthogonalise_scratch(a.matrix, b.matrix));
  {
    const py::gil_scoped_release unlocked;
    orthogonalise(a.matrix, b.matrix, coefficients.data, scratch.data);
  }
  return coefficients.object;
}

}  // namespace
}  // namespace landscape

PYBIND11_MODULE(_C, module) {
  using namespace landscape;
  using py::arg;
  module.doc() = "Native operations; landscape_fast._native documents them.";
  module.def("has_cuda", [] { return cuda::kBuilt; });
  // For tests and benchmarks; results do not depend on it.
  module.def(
      "select_instruction_set",
      [](const py::object& name) {
        const std::string text = name.is_none() ? "" : name.cast<std::string>();
        if (!cpu::select(name.is_none() ? nullptr : text.c_str())) {
          throw py::value_error("name must be an instruction set of this processor, got " + text);
        }
        return cpu::instruction_set().name;
      },
      arg("name"));
  module.def("signs_", bind_signs, arg("out"), arg("seed"), arg("first_row"), arg("first_entry"));
  module.def("normals_", bind_normals, arg("out"), arg("seed"), arg("first_row"),
             arg("first_entry"));
  module.def("row_dots", bind_row_dots, arg("x"), arg("y"));
  module.def("block_dots", bind_block_dots, arg("x"), arg("y"));
  module.def("block_update_", bind_block_update, arg("y"), arg("coefficients"), arg("basis"));
  module.def("orthogonalise_", bind_orthogonalise, arg("block"), arg("basis"));
  bind_tangents(module);
  bind_squares(module);
  bind_norms(module);
}

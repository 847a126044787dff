// The operations on blocks of K tangents, for the module of bindings.cpp.
#pragma once

#include "exchange.h"
#include "tangents.h"

namespace landscape {

void bind_tangents(py::module_& module);
void bind_norms(py::module_& module);

// Operations on the CPU need none.
inline NewTensor new_scratch(py::handle like, const Tangents& block, int64_t size) {
  return size == 0 ? NewTensor{py::none(), nullptr} : new_float64(like, block.device, {size});
}

}  // namespace landscape

// The operations on squares of per-sample gradients, for the module of bindings.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace landscape {

void bind_squares(pybind11::module_& module);

}  // namespace landscape

// The operations on blocks of K tangents, for the module of bindings.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace landscape {

void bind_tangents(pybind11::module_& module);

}  // namespace landscape

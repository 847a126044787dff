// How torch is asked for a tensor's memory and for new memory, without a torch header.
//
// Through the DLPack C exchange table of the tensor's type where there is one; otherwise through
// the tensor's Python methods, as integers. One build serves every torch version.
#pragma once

#include <pybind11/pybind11.h>

#include <initializer_list>

#include "matrix.h"

namespace landscape {

namespace py = pybind11;

constexpr int kMostDims = 4;

// A tensor before it is judged. Shape and strides are set where ndim is at most kMostDims.
struct Facts {
  void* data;
  int ndim;
  int64_t shape[kMostDims];
  int64_t strides[kMostDims];
  bool floating;
  int bits;
  int32_t device_type;  // dlpack::DeviceType; 0 for one that DLPack does not number
  int32_t device_index;
};

// Raises whatever torch raises where the tensor has no memory to show.
Facts read_facts(py::handle tensor);

// torch's current stream on the tensor's CUDA device.
void* current_stream(py::handle tensor, int32_t device_index);

// A new contiguous float64 tensor and its memory.
struct NewTensor {
  py::object object;
  double* data;
};

// On the device of `like`, from torch's own allocator: it follows streams and CUDA graph capture.
NewTensor new_float64(py::handle like, const Device& device, std::initializer_list<int64_t> shape);

py::object torch_attribute(const char* name);

}  // namespace landscape

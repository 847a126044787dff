// The part of the DLPack 1.x binary interface that this module calls.
//
// Layouts and meanings are those of the specification, https://dmlc.github.io/dlpack/latest/,
// version 1.3: they are an ABI and must not be edited for taste. Functions that are not called
// here keep their place in the table as opaque pointers.
#pragma once

#include <cstdint>

namespace landscape::dlpack {

enum DeviceType : int32_t { kCpu = 1, kCuda = 2 };
enum TypeCode : uint8_t { kFloat = 2 };

struct Version {
  uint32_t major;
  uint32_t minor;
};

struct Device {
  int32_t type;
  int32_t index;
};

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements
  uint64_t byte_offset;
};

struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  void* allocate;
  void* managed_from_object;
  void* object_from_managed;
  // 0 on success, -1 with a Python exception set; `out` borrows from the object.
  int (*tensor_from_object)(void* object, Tensor* out);
  int (*current_stream)(int32_t device_type, int32_t device_index, void** out);
};

}  // namespace landscape::dlpack

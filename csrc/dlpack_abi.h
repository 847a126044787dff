// The part of the DLPack 1.x binary interface that this module calls.
//
// Layouts and meanings are those of the specification, https://dmlc.github.io/dlpack/latest/,
// version 1.3: they are an ABI and must not be edited for taste. The function that is not called
// here keeps its place in the table as an opaque pointer.
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

struct ManagedTensor {
  Version version;
  void* context;
  void (*deleter)(ManagedTensor*);
  uint64_t flags;
  Tensor tensor;
};

using SetError = void (*)(void* context, const char* kind, const char* message);

// Functions return 0 on success.
struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  // A new tensor with dtype, shape and device of `prototype`; reports through `set_error`.
  int (*allocate)(Tensor* prototype, ManagedTensor** out, void* context, SetError set_error);
  void* managed_from_object;
  // Takes the managed tensor over; -1 with a Python exception set.
  int (*object_from_managed)(ManagedTensor* tensor, void** out);
  // `out` borrows from the object; -1 with a Python exception set.
  int (*tensor_from_object)(void* object, Tensor* out);
  int (*current_stream)(int32_t device_type, int32_t device_index, void** out);
};

}  // namespace landscape::dlpack

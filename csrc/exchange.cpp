#include "exchange.h"

#include <algorithm>
#include <string>

#include "dlpack_abi.h"

namespace landscape {
namespace {

// The exchange table of the tensor's type, or null where its torch has none we can read.
const dlpack::ExchangeApi* exchange_api(py::handle tensor) {
  const py::object capsule =
      py::getattr(py::type::handle_of(tensor), "__dlpack_c_exchange_api__", py::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  auto* api = static_cast<const dlpack::ExchangeApi*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api != nullptr && api->version.major != 1) api = api->previous;
  return api != nullptr && api->tensor_from_object != nullptr ? api : nullptr;
}

Facts facts_from_exchange(const dlpack::ExchangeApi& api, py::handle tensor) {
  dlpack::Tensor t{};
  if (api.tensor_from_object(tensor.ptr(), &t) != 0) throw py::error_already_set();
  Facts facts{};
  facts.data = t.data == nullptr ? nullptr : static_cast<char*>(t.data) + t.byte_offset;
  facts.ndim = t.ndim;
  for (int d = 0; d < t.ndim && d < kMostDims; ++d) {
    facts.shape[d] = t.shape[d];
    facts.strides[d] = t.strides[d];
  }
  facts.floating = t.dtype.code == dlpack::kFloat && t.dtype.lanes == 1;
  facts.bits = t.dtype.bits;
  facts.device_type = t.device.type;
  facts.device_index = t.device.index;
  return facts;
}

Facts facts_from_integers(py::handle tensor) {
  Facts facts{};
  facts.data = reinterpret_cast<void*>(tensor.attr("data_ptr")().cast<uintptr_t>());
  facts.ndim = tensor.attr("dim")().cast<int>();
  if (facts.ndim <= kMostDims) {
    const py::tuple shape(tensor.attr("shape")), strides(tensor.attr("stride")());
    for (int d = 0; d < facts.ndim; ++d) {
      facts.shape[d] = shape[d].cast<int64_t>();
      facts.strides[d] = strides[d].cast<int64_t>();
    }
  }
  facts.floating = tensor.attr("is_floating_point")().cast<bool>();
  facts.bits = 8 * tensor.attr("element_size")().cast<int>();
  const py::object device = tensor.attr("device");
  const std::string type = py::str(device.attr("type")).cast<std::string>();
  facts.device_type = type == "cpu" ? dlpack::kCpu : type == "cuda" ? dlpack::kCuda : 0;
  const py::object index = device.attr("index");
  facts.device_index = index.is_none() ? 0 : index.cast<int32_t>();
  return facts;
}

NewTensor allocate(const dlpack::ExchangeApi& api, const Device& device,
                   std::initializer_list<int64_t> shape) {
  int64_t extents[2];
  std::copy(shape.begin(), shape.end(), extents);
  dlpack::Tensor prototype{};
  prototype.device = {device.cuda ? dlpack::kCuda : dlpack::kCpu, device.index};
  prototype.ndim = static_cast<int32_t>(shape.size());
  prototype.dtype = {dlpack::kFloat, 64, 1};
  prototype.shape = extents;
  dlpack::ManagedTensor* managed = nullptr;
  std::string error;
  const auto set_error = [](void* context, const char* kind, const char* message) {
    *static_cast<std::string*>(context) = std::string(kind) + ": " + message;
  };
  if (api.allocate(&prototype, &managed, &error, set_error) != 0) {
    PyErr_Clear();
    throw std::runtime_error("no memory for a result: " + error);
  }
  double* data = static_cast<double*>(managed->tensor.data);
  void* object = nullptr;
  if (api.object_from_managed(managed, &object) != 0) throw py::error_already_set();
  return {py::reinterpret_steal<py::object>(static_cast<PyObject*>(object)), data};
}

NewTensor new_empty(py::handle like, std::initializer_list<int64_t> shape) {
  py::tuple sizes(shape.size());
  size_t d = 0;
  for (const int64_t extent : shape) sizes[d++] = extent;
  py::object tensor = like.attr("new_empty")(sizes, py::arg("dtype") = torch_attribute("float64"));
  double* data = reinterpret_cast<double*>(tensor.attr("data_ptr")().cast<uintptr_t>());
  return {std::move(tensor), data};
}

}  // namespace

py::object torch_attribute(const char* name) { return py::module_::import("torch").attr(name); }

Facts read_facts(py::handle tensor) {
  const dlpack::ExchangeApi* api = exchange_api(tensor);
  return api != nullptr ? facts_from_exchange(*api, tensor) : facts_from_integers(tensor);
}

void* current_stream(py::handle tensor, int32_t index) {
  const dlpack::ExchangeApi* api = exchange_api(tensor);
  if (api == nullptr) {
    const py::object stream = torch_attribute("cuda").attr("current_stream")(index);
    return reinterpret_cast<void*>(stream.attr("cuda_stream").cast<uintptr_t>());
  }
  void* stream = nullptr;
  if (api->current_stream(dlpack::kCuda, index, &stream) != 0) throw py::error_already_set();
  return stream;
}

NewTensor new_float64(py::handle like, const Device& device, std::initializer_list<int64_t> shape) {
  const dlpack::ExchangeApi* api = exchange_api(like);
  const bool exchanged =
      api != nullptr && api->allocate != nullptr && api->object_from_managed != nullptr;
  return exchanged ? allocate(*api, device, shape) : new_empty(like, shape);
}

}  // namespace landscape

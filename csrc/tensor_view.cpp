#include "tensor_view.h"

#include <algorithm>
#include <string>

#include "dlpack_abi.h"
#include "kernels.h"

namespace landscape {
namespace {

// Facts of a tensor before any of them is judged.
struct Facts {
  void* data;
  int ndim;
  int64_t shape[2];
  int64_t strides[2];
  bool floating;
  int bits;
  int32_t device_type;
  int32_t device_index;
};

template <typename Error>
[[noreturn]] void refuse(const char* name, const std::string& what) {
  throw Error(std::string(name) + " " + what);
}

std::string text(py::handle object) { return py::str(object).cast<std::string>(); }

std::string shape_text(const Matrix& m) {
  return "(" + std::to_string(m.rows) + ", " + std::to_string(m.columns) + ")";
}

py::object torch_attribute(const char* name) { return py::module_::import("torch").attr(name); }

bool is_tensor(py::handle object) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> type;
  return py::isinstance(
      object,
      type.call_once_and_store_result([] { return torch_attribute("Tensor"); }).get_stored());
}

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
  for (int d = 0; d < t.ndim && d < 2; ++d) {
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
  if (facts.ndim == 2) {
    const py::tuple shape(tensor.attr("shape")), strides(tensor.attr("stride")());
    for (int d = 0; d < 2; ++d) {
      facts.shape[d] = shape[d].cast<int64_t>();
      facts.strides[d] = strides[d].cast<int64_t>();
    }
  }
  facts.floating = tensor.attr("is_floating_point")().cast<bool>();
  facts.bits = 8 * tensor.attr("element_size")().cast<int>();
  const py::object device = tensor.attr("device");
  const std::string type = text(device.attr("type"));
  facts.device_type = type == "cpu" ? dlpack::kCpu : type == "cuda" ? dlpack::kCuda : 0;
  const py::object index = device.attr("index");
  facts.device_index = index.is_none() ? 0 : index.cast<int32_t>();
  return facts;
}

void* current_stream(const dlpack::ExchangeApi* api, int32_t index) {
  if (api == nullptr) {
    const py::object stream = torch_attribute("cuda").attr("current_stream")(index);
    return reinterpret_cast<void*>(stream.attr("cuda_stream").cast<uintptr_t>());
  }
  void* stream = nullptr;
  if (api->current_stream(dlpack::kCuda, index, &stream) != 0) throw py::error_already_set();
  return stream;
}

Facts read_facts(const dlpack::ExchangeApi* api, py::handle tensor, const char* name) {
  try {
    return api != nullptr ? facts_from_exchange(*api, tensor) : facts_from_integers(tensor);
  } catch (py::error_already_set& cause) {
    const std::string message = std::string(name) + " has no memory that can be read (" +
                                text(py::type::handle_of(tensor)) + ")";
    py::raise_from(cause, PyExc_ValueError, message.c_str());
    throw py::error_already_set();
  }
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

TensorView view_block(py::handle tensor, const char* name) {
  if (!is_tensor(tensor)) {
    refuse<py::type_error>(name,
                           "must be a torch.Tensor, got " + text(py::type::handle_of(tensor)));
  }
  const dlpack::ExchangeApi* api = exchange_api(tensor);
  // The exchange table looks through these two, so they are asked for separately.
  if (tensor.attr("requires_grad").cast<bool>()) {
    refuse<py::value_error>(name, "requires grad, and no gradient would flow through; detach() it");
  }
  if (tensor.attr("is_neg")().cast<bool>()) {
    refuse<py::value_error>(name, "is a lazily negated view; resolve_neg() it");
  }
  const Facts facts = read_facts(api, tensor, name);
  if (!facts.floating || (facts.bits != 32 && facts.bits != 64)) {
    refuse<py::type_error>(name, "must be float32 or float64, got " + text(tensor.attr("dtype")));
  }
  if (facts.ndim != 2) {
    refuse<py::value_error>(
        name, "must be a block (k, n), got shape " + text(py::tuple(tensor.attr("shape"))));
  }
  const int64_t rows = facts.shape[0], columns = facts.shape[1];
  if (columns > 1 && facts.strides[1] != 1) {
    refuse<py::value_error>(
        name, "must have contiguous rows, got column stride " + std::to_string(facts.strides[1]));
  }
  if (rows > 1 && facts.strides[0] < columns) {
    refuse<py::value_error>(name, "must have separate rows, got row stride " +
                                      std::to_string(facts.strides[0]) + " for " +
                                      std::to_string(columns) + " columns");
  }
  if (facts.device_type != dlpack::kCpu && facts.device_type != dlpack::kCuda) {
    refuse<py::value_error>(
        name, "must be on the CPU or a CUDA device, got " + text(tensor.attr("device")));
  }
  if (facts.data == nullptr && rows > 0 && columns > 0) {
    refuse<py::value_error>(name, "has no memory behind it: a fake or meta tensor");
  }
  const bool on_cuda = facts.device_type == dlpack::kCuda;
  if (on_cuda && !cuda::kBuilt) {
    throw std::runtime_error(
        std::string(name) +
        " is on a CUDA device and landscape_fast was built without CUDA kernels; with nvcc "
        "installed run `pip install --no-build-isolation --force-reinstall --no-deps "
        "-C cmake.define.LANDSCAPE_CUDA=ON .` in its source folder");
  }
  Device device{on_cuda, on_cuda ? facts.device_index : 0,
                on_cuda ? current_stream(api, facts.device_index) : nullptr};
  return {tensor, name,
          Matrix{facts.data, rows, columns, rows > 1 ? facts.strides[0] : columns,
                 facts.bits == 32 ? Scalar::float32 : Scalar::float64, device}};
}

void require_same_device(const TensorView& view, const TensorView& reference) {
  const Device &a = view.matrix.device, &b = reference.matrix.device;
  if (a.cuda != b.cuda || a.index != b.index) {
    refuse<py::value_error>(view.name, "is on " + text(view.object.attr("device")) + ", " +
                                           reference.name + " on " +
                                           text(reference.object.attr("device")));
  }
}

void require_same_kind(const TensorView& view, const TensorView& reference) {
  if (view.matrix.scalar != reference.matrix.scalar) {
    refuse<py::type_error>(view.name, "is " + text(view.object.attr("dtype")) + ", " +
                                          reference.name + " is " +
                                          text(reference.object.attr("dtype")));
  }
  require_same_device(view, reference);
}

void require_rows(const TensorView& view, int64_t rows, const char* meaning) {
  if (view.matrix.rows != rows) {
    refuse<py::value_error>(view.name, "must have " + std::to_string(rows) + " rows (" + meaning +
                                           "), got shape " + shape_text(view.matrix));
  }
}

void require_columns(const TensorView& view, int64_t columns, const char* meaning) {
  if (view.matrix.columns != columns) {
    refuse<py::value_error>(view.name, "must have " + std::to_string(columns) + " columns (" +
                                           meaning + "), got shape " + shape_text(view.matrix));
  }
}

void require_float64(const TensorView& view) {
  if (view.matrix.scalar != Scalar::float64) {
    refuse<py::type_error>(view.name, "must be float64, got " + text(view.object.attr("dtype")));
  }
}

void require_disjoint(const TensorView& written, const TensorView& read) {
  const Matrix &w = written.matrix, &r = read.matrix;
  if (w.rows == 0 || w.columns == 0 || r.rows == 0 || r.columns == 0) return;
  const auto size = [](const Matrix& m) { return m.scalar == Scalar::float32 ? 4 : 8; };
  const auto begin = [](const Matrix& m) { return reinterpret_cast<intptr_t>(m.data); };
  const auto end = [&](const Matrix& m) {
    return begin(m) + ((m.rows - 1) * m.stride + m.columns) * size(m);
  };
  if (end(w) <= begin(r) || end(r) <= begin(w)) return;
  // Interleaved columns of one buffer meet nowhere although their ranges do.
  if (w.stride == r.stride && size(w) == size(r)) {
    const int64_t period = w.stride * size(w);
    const int64_t shift = (((begin(r) - begin(w)) % period) + period) % period;
    if (shift >= w.columns * size(w) && period - shift >= r.columns * size(r)) return;
  }
  refuse<py::value_error>(written.name,
                          std::string("is written and shares memory with ") + read.name);
}

NewTensor new_float64(const TensorView& like, std::initializer_list<int64_t> shape) {
  const dlpack::ExchangeApi* api = exchange_api(like.object);
  const bool exchanged =
      api != nullptr && api->allocate != nullptr && api->object_from_managed != nullptr;
  return exchanged ? allocate(*api, like.matrix.device, shape) : new_empty(like.object, shape);
}

}  // namespace landscape

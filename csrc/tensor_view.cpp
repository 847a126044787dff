#include "tensor_view.h"

#include <string>

#include "dlpack_abi.h"
#include "exchange.h"
#include "kernels.h"

namespace landscape {
namespace {

std::string shape_text(const Matrix& m) {
  return "(" + std::to_string(m.rows) + ", " + std::to_string(m.columns) + ")";
}

bool is_tensor(py::handle object) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> type;
  return py::isinstance(
      object,
      type.call_once_and_store_result([] { return torch_attribute("Tensor"); }).get_stored());
}

Facts facts_of(py::handle tensor, const char* name) {
  try {
    return read_facts(tensor);
  } catch (py::error_already_set& cause) {
    const std::string message = std::string(name) + " has no memory that can be read (" +
                                text(py::type::handle_of(tensor)) + ")";
    py::raise_from(cause, PyExc_ValueError, message.c_str());
    throw py::error_already_set();
  }
}

bool is_empty(const Facts& facts) {
  const int dims = std::min(facts.ndim, kMostDims);
  return std::find(facts.shape, facts.shape + dims, 0) != facts.shape + dims;
}

}  // namespace

Argument ask(py::handle tensor, const char* name) {
  if (!is_tensor(tensor)) {
    refuse<py::type_error>(name,
                           "must be a torch.Tensor, got " + text(py::type::handle_of(tensor)));
  }
  // The exchange table looks through these two, so they are asked for separately.
  if (tensor.attr("requires_grad").cast<bool>()) {
    refuse<py::value_error>(name, "requires grad, and no gradient would flow through; detach() it");
  }
  if (tensor.attr("is_neg")().cast<bool>()) {
    refuse<py::value_error>(name, "is a lazily negated view; resolve_neg() it");
  }
  const Facts facts = facts_of(tensor, name);
  if (!facts.floating || (facts.bits != 32 && facts.bits != 64)) {
    refuse<py::type_error>(name, "must be float32 or float64, got " + text(tensor.attr("dtype")));
  }
  if (facts.device_type != dlpack::kCpu && facts.device_type != dlpack::kCuda) {
    refuse<py::value_error>(
        name, "must be on the CPU or a CUDA device, got " + text(tensor.attr("device")));
  }
  if (facts.data == nullptr && !is_empty(facts)) {
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
  return {tensor, name, facts, facts.bits == 32 ? Scalar::float32 : Scalar::float64,
          Device{on_cuda, on_cuda ? facts.device_index : 0,
                 on_cuda ? current_stream(tensor, facts.device_index) : nullptr}};
}

TensorView view_block(py::handle tensor, const char* name) {
  const Argument argument = ask(tensor, name);
  const Facts& facts = argument.facts;
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
  return {tensor, name,
          Matrix{facts.data, rows, columns, rows > 1 ? facts.strides[0] : columns, argument.scalar,
                 argument.device}};
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

}  // namespace landscape

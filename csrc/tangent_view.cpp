#include "tangent_view.h"

#include <cstring>

namespace landscape {
namespace {

std::string shape_text(const int64_t* shape, int dims) {
  std::string result = "(";
  for (int d = 0; d < dims; ++d) result += (d > 0 ? ", " : "") + std::to_string(shape[d]);
  return result + (dims == 1 ? ",)" : ")");
}

std::string shape_of(const Argument& argument) {
  return text(py::tuple(argument.object.attr("shape")));
}

int64_t bytes(Scalar scalar) { return scalar == Scalar::float32 ? 4 : 8; }

bool is_empty(const Tangents& t) { return t.data == nullptr || t.tangents * t.batch * t.size == 0; }

intptr_t begin(const Tangents& t) { return reinterpret_cast<intptr_t>(t.data); }

intptr_t end(const Tangents& t) {
  const int64_t last = (t.tangents - 1) * t.tangent_stride + (t.batch - 1) * t.batch_stride;
  return begin(t) + (last + t.size) * bytes(t.scalar);
}

bool has_separate_pieces(const Tangents& t) {
  const bool tangents_inside = t.tangent_stride < t.batch_stride;
  const int64_t inner = tangents_inside ? t.tangents : t.batch;
  const int64_t outer = tangents_inside ? t.batch : t.tangents;
  const int64_t inner_stride = std::min(t.tangent_stride, t.batch_stride);
  const int64_t outer_stride = std::max(t.tangent_stride, t.batch_stride);
  return (inner <= 1 || inner_stride >= t.size) &&
         (outer <= 1 || outer_stride >= (inner - 1) * inner_stride + t.size);
}

bool are_same(const Tangents& a, const Tangents& b) {
  return a.data == b.data && a.tangent_stride == b.tangent_stride &&
         a.batch_stride == b.batch_stride;
}

}  // namespace

TangentArguments::TangentArguments(py::handle block, const char* name, int dims)
    : reference_(name), dims_(dims) {
  const Argument argument = ask(block, name);
  if (argument.facts.ndim != dims) {
    refuse<py::value_error>(name, "must be a block of tangents with " + std::to_string(dims) +
                                      " dimensions, got shape " + shape_of(argument));
  }
  std::copy(argument.facts.shape, argument.facts.shape + dims, shape_);
  scalar_ = argument.scalar;
  device_ = argument.device;
}

Tangents TangentArguments::tangents(py::handle tensor, const char* name) {
  const Argument argument = ask_alike(tensor, name);
  const Facts& facts = argument.facts;
  if (facts.ndim != dims_ || !std::equal(shape_, shape_ + dims_, facts.shape)) {
    refuse<py::value_error>(name, "must have shape " + shape_text(shape_, dims_) + " (as " +
                                      reference_ + " has), got shape " + shape_of(argument));
  }
  require_contiguous(argument, 2);
  int64_t size = 1;
  for (int d = 2; d < dims_; ++d) size *= shape_[d];
  // The stride of a dimension of one index says nothing; this one keeps pieces apart.
  const int64_t batch_stride = shape_[1] > 1 ? facts.strides[1] : 0;
  const int64_t tangent_stride = shape_[0] > 1 ? facts.strides[0] : 0;
  seen_.push_back({name, Tangents{facts.data, shape_[0], shape_[1], size, tangent_stride,
                                  batch_stride, scalar_, device_}});
  return seen_.back().block;
}

Matrix TangentArguments::primal(py::handle tensor, const char* name) {
  const Argument argument = ask_alike(tensor, name);
  const Facts& facts = argument.facts;
  if (facts.ndim != dims_ - 1 || !std::equal(shape_ + 1, shape_ + dims_, facts.shape)) {
    refuse<py::value_error>(name, "must have shape " + shape_text(shape_ + 1, dims_ - 1) + " (as " +
                                      reference_ + " without K), got shape " + shape_of(argument));
  }
  require_contiguous(argument, 0);
  int64_t size = 1;
  for (int d = 2; d < dims_; ++d) size *= shape_[d];
  seen_.push_back({name, Tangents{facts.data, 1, 1, shape_[1] * size, 0, 0, scalar_, device_}});
  return {facts.data, shape_[1], size, size, scalar_, device_};
}

Matrix TangentArguments::vector(py::handle tensor, const char* name, int dim) {
  const Argument argument = ask_alike(tensor, name);
  require_shape(argument, {shape_[dim]});
  require_contiguous(argument, 0);
  seen_.push_back({name, Tangents{argument.facts.data, 1, 1, shape_[dim], 0, 0, scalar_, device_}});
  return {argument.facts.data, 1, shape_[dim], shape_[dim], scalar_, device_};
}

Matrix TangentArguments::rows(py::handle tensor, const char* name, int dim) {
  const Argument argument = ask_alike(tensor, name);
  require_shape(argument, {shape_[0], shape_[dim]});
  require_contiguous(argument, 1);
  const int64_t stride = shape_[0] > 1 ? argument.facts.strides[0] : shape_[dim];
  seen_.push_back({name, Tangents{argument.facts.data, shape_[0], 1, shape_[dim], stride, 0,
                                  scalar_, device_}});
  return {argument.facts.data, shape_[0], shape_[dim], stride, scalar_, device_};
}

void TangentArguments::require_writable(const char* name,
                                        std::initializer_list<const char*> same) const {
  const Tangents& written = find(name).block;
  if (is_empty(written)) return;
  if (!has_separate_pieces(written)) {
    refuse<py::value_error>(name, "is written and must have separate pieces, got strides " +
                                      std::to_string(written.tangent_stride) + " and " +
                                      std::to_string(written.batch_stride) + " for pieces of " +
                                      std::to_string(written.size));
  }
  for (const Seen& other : seen_) {
    const auto is_other = [&](const char* n) { return std::strcmp(n, other.name) == 0; };
    if (is_other(name) || is_empty(other.block)) continue;
    if (end(written) <= begin(other.block) || end(other.block) <= begin(written)) continue;
    if (std::any_of(same.begin(), same.end(), is_other) && are_same(written, other.block)) continue;
    refuse<py::value_error>(name, std::string("is written and shares memory with ") + other.name);
  }
}

Argument TangentArguments::ask_alike(py::handle tensor, const char* name) const {
  const Argument argument = ask(tensor, name);
  if (argument.scalar != scalar_) {
    refuse<py::type_error>(name, "is " + text(argument.object.attr("dtype")) + ", " + reference_ +
                                     " is torch.float" + std::to_string(8 * bytes(scalar_)));
  }
  if (argument.device.cuda != device_.cuda || argument.device.index != device_.index) {
    refuse<py::value_error>(name, "is on " + text(argument.object.attr("device")) + ", " +
                                      reference_ + " on another device");
  }
  return argument;
}

void TangentArguments::require_shape(const Argument& argument,
                                     std::initializer_list<int64_t> shape) const {
  const int dims = static_cast<int>(shape.size());
  if (argument.facts.ndim != dims ||
      !std::equal(shape.begin(), shape.end(), argument.facts.shape)) {
    refuse<py::value_error>(argument.name, "must have shape " + shape_text(shape.begin(), dims) +
                                               " (to fit " + reference_ + "), got shape " +
                                               shape_of(argument));
  }
}

// Dimensions `from` and behind, up to strides that no element is reached by.
void TangentArguments::require_contiguous(const Argument& argument, int from) const {
  const Facts& facts = argument.facts;
  if (std::count(facts.shape, facts.shape + facts.ndim, 0) > 0) return;
  int64_t expected = 1;
  for (int d = facts.ndim - 1; d >= from; --d) {
    if (facts.shape[d] > 1 && facts.strides[d] != expected) {
      refuse<py::value_error>(argument.name, "must be contiguous from dimension " +
                                                 std::to_string(from) + " on, got strides " +
                                                 shape_text(facts.strides, facts.ndim));
    }
    expected *= facts.shape[d];
  }
}

const TangentArguments::Seen& TangentArguments::find(const char* name) const {
  const auto at = std::find_if(seen_.begin(), seen_.end(), [name](const Seen& seen) {
    return std::strcmp(seen.name, name) == 0;
  });
  if (at == seen_.end()) throw std::logic_error(std::string(name) + " was never viewed");
  return *at;
}

}  // namespace landscape

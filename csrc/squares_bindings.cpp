// The Python functions on squares of per-sample gradients.
#include "squares_bindings.h"

#include "ops.h"
#include "tangent_view.h"

namespace landscape {
namespace {

using py::arg;
using Pair = std::pair<int64_t, int64_t>;

py::object bind_square_sums(const py::object& block) {
  TangentArguments all(block, "block", 3);
  const Tangents of = all.tangents(block, "block");
  const NewTensor sums = new_float64(block, of.device, {all.extent(2)});
  const int64_t size = square_sums_scratch(of);
  const NewTensor scratch =
      size == 0 ? NewTensor{py::none(), nullptr} : new_float64(block, of.device, {size});
  {
    const py::gil_scoped_release unlocked;
    square_sums(of, sums.data, scratch.data);
  }
  return sums.object;
}

void require(bool holds, const char* name, const std::string& what) {
  if (!holds) refuse<py::value_error>(name, what);
}

Plane plane(const Pair& pair, int64_t least, const char* name) {
  require(pair.first >= least && pair.second >= least, name,
          "must be at least " + std::to_string(least));
  return {pair.first, pair.second};
}

int64_t positions(int64_t input, int64_t window, int64_t stride, int64_t padding,
                  int64_t dilation) {
  const int64_t left = input + 2 * padding - dilation * (window - 1) - 1;
  return left < 0 ? 0 : left / stride + 1;
}

py::object bind_filter_squares(const py::object& delta, const py::object& x, const Pair& window,
                               const Pair& stride, const Pair& padding, const Pair& dilation,
                               int64_t groups) {
  TangentArguments all(delta, "delta", 4);
  FilterSquares of{};
  of.delta = all.tangents(delta, "delta");
  of.outputs = all.extent(2);
  const Argument input = ask(x, "x");
  const Facts& facts = input.facts;
  const std::string shape = text(py::tuple(x.attr("shape")));
  require(facts.ndim == 4 && facts.shape[0] == all.extent(1), "x",
          "must have shape (B, I, H, W), B as delta has, got shape " + shape);
  int64_t size = 1;
  for (int d = 3; d >= 0; --d) {
    require(facts.shape[d] <= 1 || facts.strides[d] == size, "x", "must be contiguous");
    size *= facts.shape[d];
  }
  if (input.scalar != of.delta.scalar) {
    refuse<py::type_error>("x", "must have the dtype of delta, got " + text(x.attr("dtype")));
  }
  require(!input.device.cuda && !of.delta.device.cuda, input.device.cuda ? "x" : "delta",
          "must be on the CPU");
  require(groups > 0 && facts.shape[1] % groups == 0 && of.outputs % groups == 0, "groups",
          "must divide the channels of x and of delta, got " + std::to_string(groups));
  const int64_t each = facts.shape[1] * facts.shape[2] * facts.shape[3];
  of.x = {facts.data, facts.shape[0], each, each, input.scalar, input.device};
  FilterGeometry& g = of.geometry;
  g.groups = groups;
  g.channels = facts.shape[1] / groups;
  g.input = {facts.shape[2], facts.shape[3]};
  g.window = plane(window, 1, "window");
  g.stride = plane(stride, 1, "stride");
  g.padding = plane(padding, 0, "padding");
  g.dilation = plane(dilation, 1, "dilation");
  g.output = {
      positions(g.input.height, g.window.height, g.stride.height, g.padding.height,
                g.dilation.height),
      positions(g.input.width, g.window.width, g.stride.width, g.padding.width, g.dilation.width)};
  require(all.extent(3) == g.output.height * g.output.width, "delta",
          "must have the " + std::to_string(g.output.height * g.output.width) +
              " positions of the output, got " + std::to_string(all.extent(3)));
  const NewTensor sums =
      new_float64(delta, of.delta.device,
                  {of.outputs, g.window.height, g.window.width, facts.shape[1] / groups});
  {
    const py::gil_scoped_release unlocked;
    filter_squares(of, sums.data);
  }
  return sums.object;
}

py::tuple bind_affine_norm_squares(const py::object& first, const py::object& second,
                                   const py::object& result, const py::object& x,
                                   const py::object& mean, const py::object& scale,
                                   const py::object& gain, const py::object& output) {
  TangentArguments all(first, "first", 4);
  NormGradientTangent of{};
  of.first = all.tangents(first, "first");
  of.second = unless_none(second, [&] { return all.tangents(second, "second"); });
  of.result = unless_none(result, [&] { return all.tangents(result, "result"); });
  of.x = all.primal(x, "x");
  of.output = unless_none(output, [&] { return all.primal(output, "output"); });
  of.parameters.channels = all.extent(2);
  of.parameters.positions = all.extent(3);
  of.parameters.mean = all.vector(mean, "mean", 2);
  of.parameters.scale = all.vector(scale, "scale", 2);
  of.parameters.gain = all.vector(gain, "gain", 2);
  require(!of.first.device.cuda, "first", "must be on the CPU");
  if (!second.is_none() || !output.is_none()) all.require_writable("first");
  if (!result.is_none()) all.require_writable("result", {"second"});
  const NewTensor weight = new_float64(first, of.first.device, {all.extent(2)});
  const NewTensor bias = new_float64(first, of.first.device, {all.extent(2)});
  {
    const py::gil_scoped_release unlocked;
    affine_norm_squares(of, weight.data, bias.data);
  }
  return py::make_tuple(weight.object, bias.object);
}

}  // namespace

void bind_squares(py::module_& module) {
  module.def("square_sums", bind_square_sums, arg("block"));
  module.def("filter_squares", bind_filter_squares, arg("delta"), arg("x"), arg("window"),
             arg("stride"), arg("padding"), arg("dilation"), arg("groups"));
  module.def("affine_norm_squares_", bind_affine_norm_squares, arg("first"), arg("second"),
             arg("result"), arg("x"), arg("mean"), arg("scale"), arg("gain"), arg("output"));
}

}  // namespace landscape

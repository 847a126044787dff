// The Python functions on blocks of K tangents: view the arguments, allocate, run without the GIL.
#include "tangent_bindings.h"

#include "ops.h"
#include "tangent_view.h"

namespace landscape {
namespace {

using py::arg;

NewTensor new_rows(py::handle like, const Tangents& block, std::initializer_list<int64_t> shape) {
  return new_float64(like, block.device, shape);
}

NormParameters norm_parameters(TangentArguments& all, const py::object& mean,
                               const py::object& scale, const py::object& gain,
                               const py::object& weight_dot) {
  NormParameters of{};
  of.channels = all.extent(2);
  of.positions = all.extent(3);
  of.mean = all.vector(mean, "mean", 2);
  of.scale = all.vector(scale, "scale", 2);
  of.gain = all.vector(gain, "gain", 2);
  of.weight_dot = unless_none(weight_dot, [&] { return all.rows(weight_dot, "weight_dot", 2); });
  return of;
}

py::object bind_affine_norm_tangent(const py::object& first, const py::object& second,
                                    const py::object& result, const py::object& x,
                                    const py::object& mean, const py::object& scale,
                                    const py::object& gain, const py::object& weight_dot,
                                    const py::object& bias_dot, const py::object& residual,
                                    const py::object& output) {
  TangentArguments all(result, "result", 4);
  NormTangent of{};
  of.result = all.tangents(result, "result");
  of.first = unless_none(first, [&] { return all.tangents(first, "first"); });
  of.second = unless_none(second, [&] { return all.tangents(second, "second"); });
  of.residual = unless_none(residual, [&] { return all.tangents(residual, "residual"); });
  of.x = all.primal(x, "x");
  of.output = unless_none(output, [&] { return all.primal(output, "output"); });
  of.parameters = norm_parameters(all, mean, scale, gain, weight_dot);
  of.parameters.bias_dot = unless_none(bias_dot, [&] { return all.rows(bias_dot, "bias_dot", 2); });
  if (first.is_none() && !second.is_none()) {
    refuse<py::value_error>("second", "needs first, which takes the sum of both");
  }
  if (!second.is_none()) all.require_writable("first");
  all.require_writable("result", "second");
  {
    const py::gil_scoped_release unlocked;
    affine_norm_tangent(of);
  }
  return result;
}

py::tuple bind_affine_norm_gradient_tangent(const py::object& first, const py::object& second,
                                            const py::object& result, const py::object& delta,
                                            const py::object& x, const py::object& x_dot,
                                            const py::object& mean, const py::object& scale,
                                            const py::object& gain, const py::object& weight_dot,
                                            const py::object& output) {
  TangentArguments all(first, "first", 4);
  NormGradientTangent of{};
  of.first = all.tangents(first, "first");
  of.second = unless_none(second, [&] { return all.tangents(second, "second"); });
  of.result = unless_none(result, [&] { return all.tangents(result, "result"); });
  of.x_dot = unless_none(x_dot, [&] { return all.tangents(x_dot, "x_dot"); });
  of.delta = all.primal(delta, "delta");
  of.x = all.primal(x, "x");
  of.output = unless_none(output, [&] { return all.primal(output, "output"); });
  of.parameters = norm_parameters(all, mean, scale, gain, weight_dot);
  if (!second.is_none() || !output.is_none()) all.require_writable("first");
  if (!result.is_none()) all.require_writable("result", "second");
  const int64_t k = all.extent(0), channels = all.extent(2);
  const NewTensor weight_rows = new_rows(first, of.first, {k, channels});
  const NewTensor bias_rows = new_rows(first, of.first, {k, channels});
  const int64_t room = affine_norm_gradient_tangent_scratch(of);
  const NewTensor scratch =
      room == 0 ? NewTensor{py::none(), nullptr} : new_rows(first, of.first, {room});
  {
    const py::gil_scoped_release unlocked;
    affine_norm_gradient_tangent(of, weight_rows.data, bias_rows.data, scratch.data);
  }
  return py::make_tuple(weight_rows.object, bias_rows.object);
}

}  // namespace

void bind_tangents(py::module_& module) {
  module.def("affine_norm_tangent_", bind_affine_norm_tangent, arg("first"), arg("second"),
             arg("result"), arg("x"), arg("mean"), arg("scale"), arg("gain"), arg("weight_dot"),
             arg("bias_dot"), arg("residual"), arg("output"));
  module.def("affine_norm_gradient_tangent_", bind_affine_norm_gradient_tangent, arg("first"),
             arg("second"), arg("result"), arg("delta"), arg("x"), arg("x_dot"), arg("mean"),
             arg("scale"), arg("gain"), arg("weight_dot"), arg("output"));
}

}  // namespace landscape

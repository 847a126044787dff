// The Python functions on blocks of K tangents: view the arguments, allocate, run without the GIL.
#include "tangent_bindings.h"

#include "ops.h"
#include "tangent_view.h"

namespace landscape {
namespace {

using py::arg;

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
  all.require_writable("result", {"second"});
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
  if (!result.is_none()) all.require_writable("result", {"second"});
  const int64_t k = all.extent(0), channels = all.extent(2);
  const NewTensor weight_rows = new_float64(first, of.first.device, {k, channels});
  const NewTensor bias_rows = new_float64(first, of.first.device, {k, channels});
  const NewTensor scratch = new_scratch(first, of.first, affine_norm_gradient_tangent_scratch(of));
  {
    const py::gil_scoped_release unlocked;
    affine_norm_gradient_tangent(of, weight_rows.data, bias_rows.data, scratch.data);
  }
  return py::make_tuple(weight_rows.object, bias_rows.object);
}

Activation activation(const std::string& kind) {
  constexpr std::pair<const char*, Activation> kKinds[] = {
      {"relu", Activation::relu},           {"gelu", Activation::gelu},
      {"gelu_tanh", Activation::gelu_tanh}, {"silu", Activation::silu},
      {"tanh", Activation::tanh},           {"sigmoid", Activation::sigmoid},
      {"softplus", Activation::softplus}};
  for (const auto& [name, value] : kKinds) {
    if (kind == name) return value;
  }
  throw py::value_error("kind must be an activation that is built in, got " + kind);
}

py::object bind_pointwise_tangent(const std::string& kind, const py::object& z,
                                  const py::object& dot, const py::object& out) {
  TangentArguments all(out, "out", 3);
  Pointwise of{};
  of.kind = activation(kind);
  of.out = all.tangents(out, "out");
  of.z = all.primal(z, "z");
  of.delta_dot = all.tangents(dot, "dot");
  all.require_writable("out", {"dot"});
  {
    const py::gil_scoped_release unlocked;
    pointwise_tangent(of);
  }
  return out;
}

py::object bind_pointwise_gradient_tangent(const std::string& kind, const py::object& z,
                                           const py::object& delta, const py::object& z_dot,
                                           const py::object& delta_dot, const py::object& out) {
  TangentArguments all(out, "out", 3);
  Pointwise of{};
  of.kind = activation(kind);
  of.out = all.tangents(out, "out");
  of.z = all.primal(z, "z");
  of.weight = all.primal(delta, "delta");
  of.z_dot = unless_none(z_dot, [&] { return all.tangents(z_dot, "z_dot"); });
  of.delta_dot = unless_none(delta_dot, [&] { return all.tangents(delta_dot, "delta_dot"); });
  if (z_dot.is_none() && delta_dot.is_none()) {
    refuse<py::value_error>("z_dot", "and delta_dot are both None");
  }
  all.require_writable("out", {"z_dot", "delta_dot"});
  // A relu is straight.
  if (of.kind == Activation::relu && of.delta_dot.data != nullptr) of.z_dot = {};
  {
    const py::gil_scoped_release unlocked;
    pointwise_tangent(of);
  }
  return out;
}

py::object bind_pointwise_quadratic(const std::string& kind, const py::object& z,
                                    const py::object& adjoint, const py::object& z_dot) {
  TangentArguments all(z_dot, "z_dot", 3);
  Pointwise of{};
  of.kind = activation(kind);
  of.z_dot = all.tangents(z_dot, "z_dot");
  of.z = all.primal(z, "z");
  of.weight = all.primal(adjoint, "adjoint");
  const NewTensor forms = new_float64(z_dot, of.z_dot.device, {all.extent(0)});
  const NewTensor scratch = new_scratch(z_dot, of.z_dot, pointwise_quadratic_scratch(of));
  {
    const py::gil_scoped_release unlocked;
    pointwise_quadratic(of, forms.data, scratch.data);
  }
  return forms.object;
}

py::object bind_softmax_tangent(const py::object& p, const py::object& dot,
                                const py::object& row_weight, const py::object& out) {
  TangentArguments all(out, "out", 3);
  Softmax of{};
  of.out = all.tangents(out, "out");
  of.p = all.primal(p, "p");
  of.dot = all.tangents(dot, "dot");
  of.row_weight = all.vector(row_weight, "row_weight", 1);
  all.require_writable("out", {"dot"});
  {
    const py::gil_scoped_release unlocked;
    softmax_tangent(of);
  }
  return out;
}

py::object bind_softmax_quadratic(const py::object& p, const py::object& dot,
                                  const py::object& row_weight) {
  TangentArguments all(dot, "dot", 3);
  Softmax of{};
  of.dot = all.tangents(dot, "dot");
  of.p = all.primal(p, "p");
  of.row_weight = all.vector(row_weight, "row_weight", 1);
  const NewTensor forms = new_float64(dot, of.dot.device, {all.extent(0)});
  const NewTensor scratch = new_scratch(dot, of.dot, softmax_quadratic_scratch(of));
  {
    const py::gil_scoped_release unlocked;
    softmax_quadratic(of, forms.data, scratch.data);
  }
  return forms.object;
}

}  // namespace

void bind_tangents(py::module_& module) {
  module.def("affine_norm_tangent_", bind_affine_norm_tangent, arg("first"), arg("second"),
             arg("result"), arg("x"), arg("mean"), arg("scale"), arg("gain"), arg("weight_dot"),
             arg("bias_dot"), arg("residual"), arg("output"));
  module.def("affine_norm_gradient_tangent_", bind_affine_norm_gradient_tangent, arg("first"),
             arg("second"), arg("result"), arg("delta"), arg("x"), arg("x_dot"), arg("mean"),
             arg("scale"), arg("gain"), arg("weight_dot"), arg("output"));
  module.def("pointwise_tangent_", bind_pointwise_tangent, arg("kind"), arg("z"), arg("dot"),
             arg("out"));
  module.def("pointwise_gradient_tangent_", bind_pointwise_gradient_tangent, arg("kind"), arg("z"),
             arg("delta"), arg("z_dot"), arg("delta_dot"), arg("out"));
  module.def("pointwise_quadratic", bind_pointwise_quadratic, arg("kind"), arg("z"), arg("adjoint"),
             arg("z_dot"));
  module.def("softmax_tangent_", bind_softmax_tangent, arg("p"), arg("dot"), arg("row_weight"),
             arg("out"));
  module.def("softmax_quadratic", bind_softmax_quadratic, arg("p"), arg("dot"), arg("row_weight"));
}

}  // namespace landscape

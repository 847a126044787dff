// The Python functions on tangents of normalisations by statistics of their own input.
#include "ops.h"
#include "tangent_bindings.h"
#include "tangent_view.h"

namespace landscape {
namespace {

using py::arg;

LayerNorm layer_norm(TangentArguments& all, const py::object& x, const py::object& mean,
                     const py::object& inverse, const py::object& weight,
                     const py::object& weight_dot) {
  LayerNorm of{};
  of.x = all.primal(x, "x");
  of.mean = all.vector(mean, "mean", 1);
  of.inverse = all.vector(inverse, "inverse", 1);
  of.weight = unless_none(weight, [&] { return all.vector(weight, "weight", 2); });
  of.weight_dot = unless_none(weight_dot, [&] { return all.rows(weight_dot, "weight_dot", 2); });
  return of;
}

py::object bind_layer_norm_tangent(const py::object& dot, const py::object& x,
                                   const py::object& mean, const py::object& inverse,
                                   const py::object& weight, const py::object& weight_dot,
                                   const py::object& bias_dot, const py::object& out) {
  TangentArguments all(out, "out", 3);
  LayerNormTangent of{};
  of.out = all.tangents(out, "out");
  of.dot = unless_none(dot, [&] { return all.tangents(dot, "dot"); });
  of.layer = layer_norm(all, x, mean, inverse, weight, weight_dot);
  of.bias_dot = unless_none(bias_dot, [&] { return all.rows(bias_dot, "bias_dot", 2); });
  all.require_writable("out");
  {
    const py::gil_scoped_release unlocked;
    layer_norm_tangent(of);
  }
  return out;
}

py::tuple bind_layer_norm_gradient_tangent(const py::object& delta_dot, const py::object& x_dot,
                                           const py::object& delta, const py::object& x,
                                           const py::object& mean, const py::object& inverse,
                                           const py::object& weight, const py::object& weight_dot,
                                           const py::object& out) {
  TangentArguments all(out, "out", 3);
  LayerNormGradientTangent of{};
  of.out = all.tangents(out, "out");
  of.delta_dot = unless_none(delta_dot, [&] { return all.tangents(delta_dot, "delta_dot"); });
  of.x_dot = unless_none(x_dot, [&] { return all.tangents(x_dot, "x_dot"); });
  of.delta = all.primal(delta, "delta");
  of.layer = layer_norm(all, x, mean, inverse, weight, weight_dot);
  all.require_writable("out");
  const int64_t k = all.extent(0), columns = all.extent(2);
  const NewTensor weight_rows = new_float64(out, of.out.device, {k, columns});
  const NewTensor bias_rows = new_float64(out, of.out.device, {k, columns});
  const NewTensor scratch = new_scratch(out, of.out, layer_norm_gradient_tangent_scratch(of));
  {
    const py::gil_scoped_release unlocked;
    layer_norm_gradient_tangent(of, weight_rows.data, bias_rows.data, scratch.data);
  }
  return py::make_tuple(weight_rows.object, bias_rows.object);
}

py::object bind_layer_norm_quadratic(const py::object& dot, const py::object& x,
                                     const py::object& mean, const py::object& inverse,
                                     const py::object& weight, const py::object& weight_dot,
                                     const py::object& adjoint) {
  TangentArguments all(dot, "dot", 3);
  LayerNormQuadratic of{};
  of.dot = all.tangents(dot, "dot");
  of.layer = layer_norm(all, x, mean, inverse, weight, weight_dot);
  of.adjoint = all.primal(adjoint, "adjoint");
  const NewTensor forms = new_float64(dot, of.dot.device, {all.extent(0)});
  const NewTensor scratch = new_scratch(dot, of.dot, layer_norm_quadratic_scratch(of));
  {
    const py::gil_scoped_release unlocked;
    layer_norm_quadratic(of, forms.data, scratch.data);
  }
  return forms.object;
}

BatchNorm batch_norm(TangentArguments& all, const py::object& x, const py::object& mean,
                     const py::object& inverse, const py::object& weight,
                     const py::object& weight_dot) {
  BatchNorm of{};
  of.channels = all.extent(2);
  of.positions = all.extent(3);
  of.x = all.primal(x, "x");
  of.mean = all.vector(mean, "mean", 2);
  of.inverse = all.vector(inverse, "inverse", 2);
  of.weight = unless_none(weight, [&] { return all.vector(weight, "weight", 2); });
  of.weight_dot = unless_none(weight_dot, [&] { return all.rows(weight_dot, "weight_dot", 2); });
  return of;
}

py::object bind_batch_norm_tangent(const py::object& dot, const py::object& x,
                                   const py::object& mean, const py::object& inverse,
                                   const py::object& weight, const py::object& weight_dot,
                                   const py::object& bias_dot, const py::object& out) {
  TangentArguments all(out, "out", 4);
  BatchNormTangent of{};
  of.out = all.tangents(out, "out");
  of.dot = unless_none(dot, [&] { return all.tangents(dot, "dot"); });
  of.layer = batch_norm(all, x, mean, inverse, weight, weight_dot);
  of.bias_dot = unless_none(bias_dot, [&] { return all.rows(bias_dot, "bias_dot", 2); });
  all.require_writable("out");
  {
    const py::gil_scoped_release unlocked;
    batch_norm_tangent(of);
  }
  return out;
}

py::tuple bind_batch_norm_gradient_tangent(const py::object& delta_dot, const py::object& x_dot,
                                           const py::object& delta, const py::object& x,
                                           const py::object& mean, const py::object& inverse,
                                           const py::object& weight, const py::object& weight_dot,
                                           const py::object& out) {
  TangentArguments all(out, "out", 4);
  BatchNormGradientTangent of{};
  of.out = all.tangents(out, "out");
  of.delta_dot = unless_none(delta_dot, [&] { return all.tangents(delta_dot, "delta_dot"); });
  of.x_dot = unless_none(x_dot, [&] { return all.tangents(x_dot, "x_dot"); });
  of.delta = all.primal(delta, "delta");
  of.layer = batch_norm(all, x, mean, inverse, weight, weight_dot);
  all.require_writable("out");
  const int64_t k = all.extent(0), channels = all.extent(2);
  const NewTensor weight_rows = new_float64(out, of.out.device, {k, channels});
  const NewTensor bias_rows = new_float64(out, of.out.device, {k, channels});
  {
    const py::gil_scoped_release unlocked;
    batch_norm_gradient_tangent(of, weight_rows.data, bias_rows.data);
  }
  return py::make_tuple(weight_rows.object, bias_rows.object);
}

py::object bind_batch_norm_quadratic(const py::object& dot, const py::object& x,
                                     const py::object& mean, const py::object& inverse,
                                     const py::object& weight, const py::object& weight_dot,
                                     const py::object& adjoint) {
  TangentArguments all(dot, "dot", 4);
  BatchNormQuadratic of{};
  of.dot = all.tangents(dot, "dot");
  of.layer = batch_norm(all, x, mean, inverse, weight, weight_dot);
  of.adjoint = all.primal(adjoint, "adjoint");
  const NewTensor forms = new_float64(dot, of.dot.device, {all.extent(0)});
  const NewTensor scratch = new_scratch(dot, of.dot, batch_norm_quadratic_scratch(of));
  {
    const py::gil_scoped_release unlocked;
    batch_norm_quadratic(of, forms.data, scratch.data);
  }
  return forms.object;
}

}  // namespace

void bind_norms(py::module_& module) {
  module.def("layer_norm_tangent_", bind_layer_norm_tangent, arg("dot"), arg("x"), arg("mean"),
             arg("inverse"), arg("weight"), arg("weight_dot"), arg("bias_dot"), arg("out"));
  module.def("layer_norm_gradient_tangent_", bind_layer_norm_gradient_tangent, arg("delta_dot"),
             arg("x_dot"), arg("delta"), arg("x"), arg("mean"), arg("inverse"), arg("weight"),
             arg("weight_dot"), arg("out"));
  module.def("layer_norm_quadratic", bind_layer_norm_quadratic, arg("dot"), arg("x"), arg("mean"),
             arg("inverse"), arg("weight"), arg("weight_dot"), arg("adjoint"));
  module.def("batch_norm_tangent_", bind_batch_norm_tangent, arg("dot"), arg("x"), arg("mean"),
             arg("inverse"), arg("weight"), arg("weight_dot"), arg("bias_dot"), arg("out"));
  module.def("batch_norm_gradient_tangent_", bind_batch_norm_gradient_tangent, arg("delta_dot"),
             arg("x_dot"), arg("delta"), arg("x"), arg("mean"), arg("inverse"), arg("weight"),
             arg("weight_dot"), arg("out"));
  module.def("batch_norm_quadratic", bind_batch_norm_quadratic, arg("dot"), arg("x"), arg("mean"),
             arg("inverse"), arg("weight"), arg("weight_dot"), arg("adjoint"));
}

}  // namespace landscape

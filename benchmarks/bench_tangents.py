"""Native tangents of layers and losses against plain torch, each after its answer was asserted.

pytest benchmarks/bench_tangents.py --benchmark-only
"""

from __future__ import annotations

import pytest
import torch
from operands import NORM_SHAPES, ON_EACH_DEVICE, norm_operands, record, record_tangents

from landscape_fast import _native
from landscape_fast.linearise.rules import fused_batch_norm, fused_layer_norm

pytestmark = ON_EACH_DEVICE


@pytest.mark.parametrize(("b", "c", "s"), NORM_SHAPES)
def test_affine_norm_tangent(benchmark, device, b, c, s):
    o = norm_operands(b, c, s, device)

    def in_torch() -> torch.Tensor:
        normal = (o["x"] - o["mean"][:, None]) * o["scale"][:, None]
        total = (o["first"] + o["second"]) * o["gain"][:, None]
        total.addcmul_(normal, o["weight_dot"][:, None, :, None])
        total.add_(o["bias_dot"][:, None, :, None]).add_(o["residual"])
        return total.mul_(o["output"] > 0)

    names = ("x", "mean", "scale", "gain", "weight_dot", "bias_dot", "residual", "output")
    shared = [o[name] for name in names]

    def ours() -> torch.Tensor:
        return _native.affine_norm_tangent_(o["first"], o["second"], o["result"], *shared)

    o["second"].zero_()  # so that the sum in place does not grow
    expected = in_torch()
    assert (ours() - expected).abs().max() <= 1e-5 * expected.abs().max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=51,
        bytes_moved=4 * b * c * s * (5 * 8 + 2),
        multiply_adds=0,
        shape={"k": 8, "n": b * c * s},
    )


@pytest.mark.parametrize(("b", "c", "s"), NORM_SHAPES)
def test_affine_norm_gradient_tangent(benchmark, device, b, c, s):
    o = norm_operands(b, c, s, device)

    def in_torch() -> tuple[torch.Tensor, ...]:
        masked = (o["first"] + o["second"]).mul_(o["output"] > 0)
        result = masked * o["gain"][:, None]
        lift = (o["weight_dot"] * o["scale"])[:, None, :, None]
        result.addcmul_(o["delta"], lift)
        normal = (o["x"] - o["mean"][:, None]) * o["scale"][:, None]
        weight_rows = (masked * normal).sum((1, 3))
        weight_rows.add_((o["x_dot"] * o["delta"]).sum((1, 3)) * o["scale"])
        return weight_rows, masked.sum((1, 3)), result

    names = ("result", "delta", "x", "x_dot", "mean", "scale", "gain", "weight_dot", "output")
    others = [o[name] for name in names]

    def ours() -> tuple[torch.Tensor, ...]:
        return _native.affine_norm_gradient_tangent_(o["first"], o["second"], *others)

    o["second"].zero_()  # so that the sum in place does not grow
    for answer, expected in zip((*ours(), o["result"]), in_torch(), strict=True):
        assert (answer - expected).abs().max() <= 1e-4 * expected.abs().max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=51,
        bytes_moved=4 * b * c * s * (5 * 8 + 3),
        multiply_adds=0,
        shape={"k": 8, "n": b * c * s},
    )


def derivative(function, at: torch.Tensor) -> torch.Tensor:
    """First derivative of an elementwise function, by one reverse pass over its argument."""
    at = at.detach().requires_grad_()
    value = function(at)
    return torch.autograd.grad(value, at, torch.ones_like(value))[0]


# Activation and, for its backward pass, that pass as a function of the two that it takes.
BACKWARD = {
    "gelu": (torch.nn.functional.gelu, torch.ops.aten.gelu_backward.default),
    "tanh": (torch.tanh, lambda delta, z: delta * (1 - torch.tanh(z).square())),
}


@pytest.mark.parametrize("kind", BACKWARD)
@pytest.mark.parametrize(("r", "c"), [(256, 256), (2048, 256)])
def test_pointwise_tangent(benchmark, device, r, c, kind):
    z, dot = torch.randn(r, c, device=device), torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        return dot * derivative(BACKWARD[kind][0], z)

    def ours() -> torch.Tensor:
        return _native.pointwise_tangent_(kind, z, dot, torch.empty_like(dot))

    record_tangents(benchmark, ours, in_torch, r * c, blocks=2, primals=1, within=1e-5)


@pytest.mark.parametrize("kind", BACKWARD)
@pytest.mark.parametrize(("r", "c"), [(256, 256), (2048, 256)])
def test_pointwise_gradient_tangent(benchmark, device, r, c, kind):
    z, delta = torch.randn(2, r, c, device=device)
    z_dot, delta_dot = torch.randn(2, 8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        given = [value.detach().requires_grad_() for value in (delta, z)]
        value = BACKWARD[kind][1](*given)
        slope, bend = torch.autograd.grad(value, given, torch.ones_like(value))
        return torch.addcmul(delta_dot * slope, z_dot, bend)

    def ours() -> torch.Tensor:
        out = torch.empty_like(z_dot)
        return _native.pointwise_gradient_tangent_(kind, z, delta, z_dot, delta_dot, out)

    record_tangents(benchmark, ours, in_torch, r * c, blocks=3, primals=2, within=1e-4)


@pytest.mark.parametrize("kind", BACKWARD)
@pytest.mark.parametrize(("r", "c"), [(256, 256), (2048, 256)])
def test_pointwise_quadratic(benchmark, device, r, c, kind):
    z, adjoint = torch.randn(2, r, c, device=device)
    z_dot = torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        bend = derivative(lambda at: BACKWARD[kind][1](adjoint, at), z)
        return (z_dot * z_dot * bend).flatten(1).sum(1, dtype=torch.float64)

    def ours() -> torch.Tensor:
        return _native.pointwise_quadratic(kind, z, adjoint, z_dot)

    record_tangents(
        benchmark, ours, in_torch, r * c, blocks=1, primals=2, within=1e-3, relative=True
    )


@pytest.mark.parametrize(("r", "c"), [(256, 10), (256, 1000), (2048, 256)])
def test_softmax_tangent(benchmark, device, r, c):
    p, weight = torch.randn(r, c, device=device).softmax(1), torch.rand(r, device=device)
    dot = torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        weighted = dot * p
        inner = weighted.sum(-1, keepdim=True)
        return torch.addcmul(weighted, p, inner, value=-1).mul_(weight[:, None])

    def ours() -> torch.Tensor:
        return _native.softmax_tangent_(p, dot, weight, torch.empty_like(dot))

    record_tangents(benchmark, ours, in_torch, r * c, blocks=2, primals=1, within=1e-5)


@pytest.mark.parametrize(("r", "c"), [(256, 10), (256, 1000), (2048, 256)])
def test_softmax_quadratic(benchmark, device, r, c):
    p, weight = torch.randn(r, c, device=device).softmax(1), torch.rand(r, device=device)
    dot = torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        centred = dot - (dot * p).sum(-1, keepdim=True)
        return ((centred.square() * p).sum(-1) * weight).sum(1, dtype=torch.float64)

    def ours() -> torch.Tensor:
        return _native.softmax_quadratic(p, dot, weight)

    record_tangents(
        benchmark, ours, in_torch, r * c, blocks=1, primals=1, within=1e-5, relative=True
    )


def against_rules(benchmark, module, name, arguments, shape, blocks) -> None:
    """A native tangent rule against the torch rule that it replaced, both as programs call them."""
    ours, plain = {
        "tangent": (module._forward, module._plain),
        "gradient_tangent": (module._backward, module._plain_backward),
        "quadratic": (module._form, module._plain_curvature),
    }[name]
    answers = [function(*arguments) for function in (ours, plain)]
    if name == "quadratic":
        answers = [[answer] for answer in answers]
    for answer, expected in zip(*answers, strict=True):
        if expected is not None:
            assert (answer - expected).norm() <= 1e-5 * expected.norm()
    record(
        benchmark,
        lambda: ours(*arguments),
        {"float32": lambda: plain(*arguments)},
        rounds=31,
        bytes_moved=4 * shape["n"] * blocks[name],
        multiply_adds=0,
        shape=shape,
    )


OPERATIONS = pytest.mark.parametrize("name", ["tangent", "gradient_tangent", "quadratic"])


@OPERATIONS
@pytest.mark.parametrize(("r", "c"), [(256, 64), (2048, 64), (256, 768)])
def test_layer_norm(benchmark, device, r, c, name):
    x, weight, delta = (torch.randn(*s, device=device) for s in ((r, c), (c,), (r, c)))
    out = torch.ops.aten.native_layer_norm(x, [c], weight, weight, 1e-5)
    x_dot, delta_dot = torch.randn(2, 8, r, c, device=device)
    weight_dot, bias_dot = torch.randn(2, 8, c, device=device)
    forward = [x, [c], weight, weight, 1e-5], [x_dot, None, weight_dot, bias_dot, None], out
    backward = [delta, x, [c], *out[1:], weight, weight, [True] * 3]
    arguments = {
        "tangent": forward,
        "gradient_tangent": (
            backward,
            [delta_dot, x_dot, *[None] * 3, weight_dot, None, None],
            None,
        ),
        "quadratic": (*forward, delta),
    }[name]
    blocks = {"tangent": 2 * 8 + 1, "gradient_tangent": 3 * 8 + 2, "quadratic": 8 + 2}
    against_rules(benchmark, fused_layer_norm, name, arguments, {"k": 8, "n": r * c}, blocks)


@OPERATIONS
@pytest.mark.parametrize(("b", "c", "s"), [(16, 8, 32), (16, 16, 16), (16, 64, 4), (128, 16, 16)])
def test_batch_norm(benchmark, device, b, c, s, name):
    x, delta = torch.randn(2, b, c, s, s, device=device)
    weight = torch.rand(c, device=device) + 0.5
    out = torch.ops.aten.native_batch_norm(x, weight, weight, None, None, True, 0.1, 1e-5)
    # As convolutions leave them, [B, K, C, S].
    x_dot, delta_dot = torch.randn(2, b, 8, c, s, s, device=device).transpose(1, 2)
    weight_dot, bias_dot = torch.randn(2, 8, c, device=device)
    forward = [x, weight, weight, None, None, True, 0.1, 1e-5], [x_dot, weight_dot, bias_dot], out
    backward = [delta, x, weight, None, None, *out[1:], True, 1e-5, [True] * 3]
    arguments = {
        "tangent": forward,
        "gradient_tangent": (backward, [delta_dot, x_dot, weight_dot], None),
        "quadratic": (*forward, delta),
    }[name]
    blocks = {"tangent": 3 * 8 + 2, "gradient_tangent": 5 * 8 + 4, "quadratic": 2 * 8 + 4}
    against_rules(
        benchmark, fused_batch_norm, name, arguments, {"k": 8, "n": b * c * s * s}, blocks
    )

"""The CUDA kernels on blocks of tangents, run on the CPU by emulator/, against their CPU twins."""

from __future__ import annotations

import pytest
import torch
from native.tangent_problems import (
    ACTIVATIONS,
    ActivationProblem,
    BatchNormProblem,
    LayerNormProblem,
    NormProblem,
    SoftmaxProblem,
    backwards,
    block,
    forwards,
)

from landscape_fast import _native

# (K, B, C, S): one of everything, more tangents than a thread block takes, more samples.
SHAPES = [(1, 1, 1, 1), (5, 3, 2, 49), (3, 70, 7, 1), (2, 9, 3, 110)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("missing", [(), ("second", "residual"), ("weight_dot", "output")])
def test_affine_norm_tangent_equals_its_twin_to_the_bit(kernels, dtype, shape, missing):
    given, twin = (forwards(NormProblem(shape, dtype), "gaps") for _ in range(2))
    none = dict.fromkeys(missing)
    kernels.affine_norm_tangent_(**(given | none))
    _native.affine_norm_tangent_(**(twin | none))
    for name in ("first", "result"):
        assert torch.equal(given[name], twin[name]), name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("missing", [(), ("second", "x_dot"), ("weight_dot", "output")])
def test_affine_norm_gradient_tangent(kernels, dtype, shape, missing):
    given, twin = (backwards(NormProblem(shape, dtype), "gaps") for _ in range(2))
    none = dict.fromkeys(missing)
    rows = kernels.affine_norm_gradient_tangent_(**(given | none))
    expected = _native.affine_norm_gradient_tangent_(**(twin | none))
    for name in ("first", "result"):
        assert torch.equal(given[name], twin[name]), name
    eps = torch.finfo(dtype).eps
    for ours, theirs in zip(rows, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=64 * eps, atol=64 * eps * shape[1] ** 0.5)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 7, 99), (2, 3, 5003)])
def test_pointwise_operations(kernels, dtype, kind, shape):
    p = ActivationProblem(shape, dtype)
    z_dot = block(p.z_dot, "gaps")
    # The emulated host code has no fused multiply-add.
    near = {"rtol": 64 * torch.finfo(dtype).eps, "atol": 64 * torch.finfo(dtype).eps}
    ours, twin = torch.full_like(p.z_dot, torch.nan), torch.empty_like(p.z_dot)
    kernels.pointwise_tangent_(kind, p.z, z_dot, ours)
    torch.testing.assert_close(ours, _native.pointwise_tangent_(kind, p.z, z_dot, twin), **near)
    for dots in ((z_dot, p.delta_dot), (z_dot, None), (None, p.delta_dot)):
        kernels.pointwise_gradient_tangent_(kind, p.z, p.delta, *dots, ours)
        _native.pointwise_gradient_tangent_(kind, p.z, p.delta, *dots, twin)
        torch.testing.assert_close(ours, twin, **near)
    forms = kernels.pointwise_quadratic(kind, p.z, p.delta, z_dot)
    expected = _native.pointwise_quadratic(kind, p.z, p.delta, z_dot)
    sizes = p.delta.double().abs().mul(p.z_dot.double().square()).sum((1, 2))
    assert ((forms - expected).abs() <= near["rtol"] * sizes).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 70, 10), (2, 3, 203)])
def test_softmax_operations(kernels, dtype, shape):
    problem = SoftmaxProblem(shape, dtype)
    p, dot, weight = problem.p, block(problem.dot, "gaps"), problem.row_weight
    ours = kernels.softmax_tangent_(p, dot, weight, torch.full_like(dot, torch.nan))
    twin = _native.softmax_tangent_(p, dot, weight, torch.empty_like(dot))
    torch.testing.assert_close(ours, twin, rtol=2e-7 if dtype == torch.float32 else 0, atol=1e-14)
    forms = kernels.softmax_quadratic(p, dot, weight)
    expected = _native.softmax_quadratic(p, dot, weight)
    torch.testing.assert_close(forms, expected, rtol=1e-13, atol=1e-14)


OWN_STATISTICS = [
    ("layer_norm", LayerNormProblem, (1, 1, 1)),
    ("layer_norm", LayerNormProblem, (9, 9, 3)),
    ("layer_norm", LayerNormProblem, (2, 70, 10)),
    ("layer_norm", LayerNormProblem, (2, 3, 203)),
    ("batch_norm", BatchNormProblem, (1, 1, 1, 1)),
    ("batch_norm", BatchNormProblem, (3, 9, 2, 70)),
]


@pytest.mark.parametrize(("name", "problem", "shape"), OWN_STATISTICS)
@pytest.mark.parametrize("missing", [(), ("dot", "delta_dot", "weight"), ("x_dot", "weight_dot")])
def test_normalisation_by_own_statistics(kernels, dtype, name, problem, shape, missing):
    near = dict.fromkeys(("rtol", "atol"), 64 * torch.finfo(dtype).eps)
    p = problem(shape, dtype)

    def both(operation, given):
        """The emulated kernel and its twin, each with memory of its own for what it writes."""
        given |= {argument: None for argument in missing if argument in given}
        twin = given | {"out": given["out"].clone()} if "out" in given else given
        ours = getattr(kernels, f"{name}_{operation}")(**given)
        theirs = getattr(_native, f"{name}_{operation}")(**twin)
        return ours, theirs, given.get("out"), twin.get("out")

    *_, ours, theirs = both("tangent_", p.forwards("gaps"))
    torch.testing.assert_close(ours, theirs, **near)
    *rows, ours, theirs = both("gradient_tangent_", p.backwards("gaps"))
    torch.testing.assert_close(ours, theirs, **near)
    near["atol"] *= p.delta.numel()
    for ours, theirs in zip(*rows, strict=True):
        torch.testing.assert_close(ours, theirs, **near)
    if "dot" not in missing:
        forms = both("quadratic", p.form("gaps"))[:2]
        torch.testing.assert_close(*forms, **near)


def test_empty_blocks_have_sums_zero(kernels, dtype):
    for shape in ((0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 4, 0)):
        p = NormProblem(shape, dtype)
        kernels.affine_norm_tangent_(**forwards(p, "kb"))
        for rows in kernels.affine_norm_gradient_tangent_(**backwards(p, "kb")):
            assert torch.equal(rows, torch.zeros(shape[0], shape[2], dtype=torch.float64))
    for shape in ((0, 2, 3), (2, 0, 3), (2, 3, 0)):
        p = ActivationProblem(shape, dtype)
        forms = kernels.pointwise_quadratic("gelu", p.z, p.delta, p.z_dot)
        assert torch.equal(forms, torch.zeros(shape[0], dtype=torch.float64))
        problem = SoftmaxProblem(shape, dtype)
        forms = kernels.softmax_quadratic(problem.p, problem.dot, problem.row_weight)
        assert torch.equal(forms, torch.zeros(shape[0], dtype=torch.float64))
        layer = LayerNormProblem(shape, dtype)
        for rows in kernels.layer_norm_gradient_tangent_(**layer.backwards("kb")):
            assert torch.equal(rows, torch.zeros(shape[0], shape[2], dtype=torch.float64))
        forms = kernels.layer_norm_quadratic(**layer.form("kb"))
        assert torch.equal(forms, torch.zeros(shape[0], dtype=torch.float64))
    for shape in ((0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 4, 0)):
        p = BatchNormProblem(shape, dtype)
        for rows in kernels.batch_norm_gradient_tangent_(**p.backwards("kb")):
            assert torch.equal(rows, torch.zeros(shape[0], shape[2], dtype=torch.float64))
        forms = kernels.batch_norm_quadratic(**p.form("kb"))
        assert torch.equal(forms, torch.zeros(shape[0], dtype=torch.float64))

"""Activation functions: tangents forwards and backwards, and quadratic forms."""

from __future__ import annotations

import pytest
import torch
from native.tangent_problems import ACTIVATIONS, ORDERS, ActivationProblem, block

from landscape_fast import _native

# (K, R, C): one of everything, short rows, rows of several tiles.
SHAPES = [(1, 1, 1), (3, 700, 10), (2, 3, 5003), (9, 40, 33)]

every_kind = pytest.mark.parametrize("kind", ACTIVATIONS)


def slopes(kind: str, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and second derivative in float64, by torch."""
    z = z.detach().double().clone().requires_grad_()
    first = torch.autograd.grad(ACTIVATIONS[kind](z).sum(), z, create_graph=True)[0]
    if not first.requires_grad or kind == "relu":
        return first.detach(), torch.zeros_like(first)
    return first.detach(), torch.autograd.grad(first.sum(), z)[0]


def close(ours, expected, dtype):
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(ours.double().cpu(), expected, rtol=64 * eps, atol=64 * eps)


@every_kind
def test_derivatives_are_those_of_torch_to_a_few_roundings(device, dtype, kind):
    z = torch.cat([torch.linspace(-40, 40, 4001), torch.logspace(-12, 0, 200)]).to(dtype)[None]
    one = torch.ones(1, *z.shape, dtype=dtype, device=device)
    first, second = slopes(kind, z)
    z = z.to(device)
    ours = _native.pointwise_tangent_(kind, z, one, torch.empty_like(one))[0]
    bends = _native.pointwise_gradient_tangent_(
        kind, z, torch.ones_like(z), one, None, torch.empty_like(one)
    )[0]
    # torch's own float64 formulas lose some 20 roundings to cancellation.
    allowed = (2.5 if dtype == torch.float32 else 32) * torch.finfo(dtype).eps
    assert (ours.double().cpu() - first).abs().max() <= allowed
    assert (bends.double().cpu() - second).abs().max() <= allowed


@every_kind
@pytest.mark.parametrize("order", ORDERS)
def test_tangents_are_derivatives_times_dots(device, dtype, kind, order):
    for shape in SHAPES:
        p = ActivationProblem(shape, dtype)
        first, second = slopes(kind, p.z)
        z, delta = p.z.to(device), p.delta.to(device)
        z_dot, delta_dot = block(p.z_dot.to(device), order), block(p.delta_dot.to(device), order)
        out = torch.full_like(z_dot, torch.nan)
        assert _native.pointwise_tangent_(kind, z, z_dot, out) is out
        close(out, first * p.z_dot.double(), dtype)
        _native.pointwise_gradient_tangent_(kind, z, delta, z_dot, delta_dot, out)
        bent, straight = second * p.delta.double() * p.z_dot.double(), first * p.delta_dot.double()
        close(out, bent + straight, dtype)
        _native.pointwise_gradient_tangent_(kind, z, delta, z_dot, None, out)
        close(out, bent, dtype)
        _native.pointwise_gradient_tangent_(kind, z, delta, None, delta_dot, out)
        close(out, straight, dtype)


@every_kind
@pytest.mark.parametrize("order", ORDERS)
def test_the_form_is_the_sum_over_all_values(device, dtype, kind, order):
    for shape in SHAPES:
        p = ActivationProblem(shape, dtype)
        terms = p.delta.double() * slopes(kind, p.z)[1] * p.z_dot.double().square()
        z_dot = block(p.z_dot.to(device), order)
        forms = _native.pointwise_quadratic(kind, p.z.to(device), p.delta.to(device), z_dot).cpu()
        assert forms.dtype == torch.float64
        allowed = 64 * torch.finfo(dtype).eps * (terms.abs().sum((1, 2)) + 1)
        assert ((forms - terms.sum((1, 2))).abs() <= allowed).all()


@pytest.mark.parametrize("order", ORDERS)
def test_out_may_be_a_tangent_that_is_read(device, dtype, order):
    p = ActivationProblem((3, 50, 33), dtype)
    z, delta = p.z.to(device), p.delta.to(device)
    given = [p.z_dot.to(device), p.delta_dot.to(device)]
    expected = _native.pointwise_gradient_tangent_(
        "gelu", z, delta, *given, torch.empty_like(given[0])
    )
    for place in (0, 1):
        blocks = [block(g, order) for g in given]
        _native.pointwise_gradient_tangent_("gelu", z, delta, *blocks, blocks[place])
        assert torch.equal(blocks[place], expected)
    dot = block(given[0], order)
    expected = _native.pointwise_tangent_("silu", z, given[0], torch.empty_like(given[0]))
    assert torch.equal(_native.pointwise_tangent_("silu", z, dot, dot), expected)


def test_repeats_and_thread_counts_give_equal_bits(device, dtype):
    p = ActivationProblem((4, 30, 3000), dtype)
    z, delta, z_dot = p.z.to(device), p.delta.to(device), p.z_dot.to(device)
    answers = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            answers.append(_native.pointwise_quadratic("tanh", z, delta, z_dot))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(answer, answers[0]) for answer in answers)


def test_nan_comes_through_and_large_values_do_not_overflow(device, dtype):
    z = torch.tensor([[torch.nan, -1e4, 1e4]], dtype=dtype, device=device)
    one = torch.ones(1, 1, 3, dtype=dtype, device=device)
    for kind in set(ACTIVATIONS) - {"relu"}:
        bend = _native.pointwise_gradient_tangent_(kind, z, one[0], one, None, one.clone())[0, 0]
        assert bend[0].isnan(), kind
        assert (bend[1:].abs() < 1e-10).all(), kind


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_empty_blocks_have_forms_zero(device, dtype, shape):
    p = ActivationProblem(shape, dtype)
    z, delta, z_dot = p.z.to(device), p.delta.to(device), p.z_dot.to(device)
    assert _native.pointwise_tangent_("gelu", z, z_dot, torch.empty_like(z_dot)).shape == shape
    forms = _native.pointwise_quadratic("gelu", z, delta, z_dot)
    assert torch.equal(forms.cpu(), torch.zeros(shape[0], dtype=torch.float64))


def test_an_unknown_kind_and_two_missing_tangents_are_refused():
    z, out = torch.zeros(2, 3), torch.zeros(4, 2, 3)
    with pytest.raises(ValueError, match="^kind must be .* got swish"):
        _native.pointwise_tangent_("swish", z, out.clone(), out)
    with pytest.raises(ValueError, match="^z_dot and delta_dot are both None"):
        _native.pointwise_gradient_tangent_("gelu", z, z, None, None, out)

"""Tangents of layer normalisation, forwards and backwards, and its second-order term."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from native.tangent_problems import ORDERS, LayerNormProblem

from landscape_fast import _native

# (K, R, C): one of everything, odd sizes, a vector's width, more columns than one run of a sum.
SHAPES = [(1, 1, 1), (3, 5, 7), (2, 70, 64), (2, 3, 1103)]


def normalised(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and one over their deviation; torch's own second derivative is not always right."""
    centred = x - x.mean(1, keepdim=True)
    inverse = (centred.square().mean(1, keepdim=True) + eps).rsqrt()
    return centred * inverse, inverse


def forward(p: LayerNormProblem, k: int):
    """The layer along tangent k as a function of one number, in float64."""

    def function(t: torch.Tensor) -> torch.Tensor:
        weight = p.weight.double() + t * p.weight_dot[k].double()
        normal, _ = normalised(p.x.double() + t * p.x_dot[k].double(), p.eps)
        return normal * weight + t * p.bias_dot[k].double()

    return function


def backward(p: LayerNormProblem, k: int):
    """Gradients in rows, weight and bias along tangent k as functions of one number."""

    def function(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weight = p.weight.double() + t * p.weight_dot[k].double()
        delta = p.delta.double() + t * p.delta_dot[k].double()
        normal, inverse = normalised(p.x.double() + t * p.x_dot[k].double(), p.eps)
        scaled = delta * weight
        along = (scaled * normal).mean(1, keepdim=True)
        gradient = (scaled - scaled.mean(1, keepdim=True) - normal * along) * inverse
        return gradient, (delta * normal).sum(0), delta.sum(0)

    return function


def derivative(function):
    """At zero, by forward mode."""
    zero = torch.zeros((), dtype=torch.float64)
    return torch.func.jvp(function, (zero,), (torch.ones_like(zero),))[1]


def close(ours: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype, size: float = 1.0) -> None:
    bound = 40 * torch.finfo(dtype).eps * size * max(1.0, exact.abs().max().item())
    torch.testing.assert_close(ours.double().cpu(), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_tangents_are_those_of_torch_in_float64(device, dtype, shape, order):
    p = LayerNormProblem(shape, dtype)
    given = p.forwards(order, device)
    assert _native.layer_norm_tangent_(**given) is given["out"]
    for k in range(shape[0]):
        close(given["out"][k], derivative(forward(p, k)), dtype)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_tangents_are_derivatives_of_the_backward_pass(device, dtype, shape, order):
    p = LayerNormProblem(shape, dtype)
    given = p.backwards(order, device)
    weight_rows, bias_rows = _native.layer_norm_gradient_tangent_(**given)
    assert weight_rows.dtype == bias_rows.dtype == torch.float64
    for k in range(shape[0]):
        exact = derivative(backward(p, k))
        close(given["out"][k], exact[0], dtype)
        close(weight_rows[k], exact[1], dtype, shape[1] ** 0.5)
        close(bias_rows[k], exact[2], dtype, shape[1] ** 0.5)


def test_the_layer_of_these_tests_is_that_of_torch():
    p = LayerNormProblem((1, 6, 5), torch.float64)
    x, weight = p.x.requires_grad_(), p.weight.requires_grad_()
    y, zero = F.layer_norm(x, (5,), weight, None, p.eps), torch.zeros(())
    torch.testing.assert_close(forward(p, 0)(zero), y)
    theirs = torch.autograd.grad(y, (x, weight), p.delta)
    for ours, expected in zip(backward(p, 0)(zero), theirs, strict=False):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forms_are_second_derivatives(device, dtype, shape, order):
    p = LayerNormProblem(shape, dtype)
    forms = _native.layer_norm_quadratic(**p.form(order, device))
    assert forms.dtype == torch.float64
    for k in range(shape[0]):
        along = forward(p, k)
        bend = derivative(lambda t, f=along: torch.func.jvp(f, (t,), (torch.ones_like(t),))[1])
        exact = (bend * p.delta.double()).sum()
        size = (bend * p.delta.double()).abs().sum().item() + 1e-3
        close(forms[k] / size, exact / size, dtype)


@pytest.mark.parametrize("missing", ["dot", "weight", "weight_dot", "bias_dot"])
def test_what_is_absent_forwards_is_zero_or_one(device, dtype, missing):
    given = LayerNormProblem((2, 9, 21), dtype).forwards("bk", device)
    without = _native.layer_norm_tangent_(**(given | {missing: None})).clone()
    plain = torch.ones_like if missing == "weight" else torch.zeros_like
    filled = _native.layer_norm_tangent_(**(given | {missing: plain(given[missing])}))
    assert torch.equal(without, filled)


@pytest.mark.parametrize("missing", ["delta_dot", "x_dot", "weight", "weight_dot"])
def test_what_is_absent_backwards_is_zero_or_one(device, dtype, missing):
    given = LayerNormProblem((2, 9, 21), dtype).backwards("bk", device)
    plain = torch.ones_like if missing == "weight" else torch.zeros_like
    answers = []
    for value in (None, plain(given[missing])):
        rows = _native.layer_norm_gradient_tangent_(**(given | {missing: value}))
        answers.append((given["out"].clone(), *rows))
    for without, filled in zip(*answers, strict=True):
        assert torch.equal(without, filled)


@pytest.mark.parametrize("missing", ["weight", "weight_dot"])
def test_what_is_absent_in_a_form_is_zero_or_one(device, dtype, missing):
    given = LayerNormProblem((2, 9, 21), dtype).form("bk", device)
    plain = torch.ones_like if missing == "weight" else torch.zeros_like
    filled = _native.layer_norm_quadratic(**(given | {missing: plain(given[missing])}))
    assert torch.equal(_native.layer_norm_quadratic(**(given | {missing: None})), filled)


def test_a_common_shift_of_the_tangents_costs_no_digits_beyond_its_rounding(device):
    given = LayerNormProblem((2, 20, 64), torch.float64).form("kb", device)
    forms = _native.layer_norm_quadratic(**given)
    far = _native.layer_norm_quadratic(**(given | {"dot": given["dot"] + 1e6}))
    # E[x'^2] - E[x']^2 would lose twelve digits.
    torch.testing.assert_close(far, forms, rtol=1e-8, atol=0)


def test_repeats_and_thread_counts_give_equal_bits(device, dtype):
    p = LayerNormProblem((3, 1500, 40), dtype)
    answers = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            moved, back = p.forwards("bk", device), p.backwards("bk", device)
            _native.layer_norm_tangent_(**moved)
            rows = _native.layer_norm_gradient_tangent_(**back)
            form = _native.layer_norm_quadratic(**p.form("bk", device))
            answers.append((moved["out"], back["out"], *rows, form))
    finally:
        torch.set_num_threads(threads)
    for answer in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answer, answers[0], strict=True))


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_empty_blocks_have_sums_zero(device, dtype, shape):
    p = LayerNormProblem(shape, dtype)
    assert _native.layer_norm_tangent_(**p.forwards("kb", device)).shape == shape
    for rows in _native.layer_norm_gradient_tangent_(**p.backwards("kb", device)):
        assert torch.equal(rows.cpu(), torch.zeros(shape[0], shape[2], dtype=torch.float64))
    forms = _native.layer_norm_quadratic(**p.form("kb", device))
    assert torch.equal(forms.cpu(), torch.zeros(shape[0], dtype=torch.float64))

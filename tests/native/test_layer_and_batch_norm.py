"""Normalisation by statistics of its own input: tangents, those of the backward pass, forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from native.tangent_problems import ORDERS, BatchNormProblem, LayerNormProblem

from landscape_fast import _native

# One of everything, odd sizes, a vector's width, more elements than one run of a sum.
LAYER = ("layer_norm", LayerNormProblem)  # (K, R, C)
BATCH = ("batch_norm", BatchNormProblem)  # (K, B, C, S)
CASES = [
    (*LAYER, (1, 1, 1)),
    (*LAYER, (3, 5, 7)),
    (*LAYER, (2, 70, 64)),
    (*LAYER, (2, 3, 1103)),
    (*BATCH, (1, 1, 1, 1)),
    (*BATCH, (3, 5, 7, 3)),
    (*BATCH, (2, 20, 33, 16)),
    (*BATCH, (2, 3, 2, 1103)),
]
every_case = pytest.mark.parametrize(("name", "problem", "shape"), CASES)
each_kind = pytest.mark.parametrize(
    ("name", "problem", "shape"), [(*LAYER, (2, 9, 21)), (*BATCH, (2, 9, 3, 21))]
)


def call(name, operation, given):
    return getattr(_native, f"{name}_{operation}")(**given)


def per_channel(p, vector):
    """(C,) against primal values of ``p``."""
    return vector.reshape(-1, *(1,) * (p.x.dim() - 2))


def moved(p, name, k, t):
    """What ``name`` of the problem is at ``t`` along tangent k, in float64."""
    return getattr(p, name).double() + t * getattr(p, f"{name}_dot")[k].double()


def normalised(p, k, t):
    """Without torch's layers, whose second derivatives are not always right."""
    x = moved(p, "x", k, t)
    centred = x - x.mean(p.over, keepdim=True)
    inverse = (centred.square().mean(p.over, keepdim=True) + p.eps).rsqrt()
    return centred * inverse, inverse


def forward(p, k):
    """The layer along tangent k as a function of one number, in float64."""

    def function(t: torch.Tensor) -> torch.Tensor:
        weight, shift = moved(p, "weight", k, t), t * p.bias_dot[k].double()
        return normalised(p, k, t)[0] * per_channel(p, weight) + per_channel(p, shift)

    return function


def backward(p, k):
    """Gradients in input, weight and bias along tangent k as functions of one number."""
    rest = [0, *range(2, p.x.dim())]

    def function(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        normal, inverse = normalised(p, k, t)
        delta = moved(p, "delta", k, t)
        scaled = delta * per_channel(p, moved(p, "weight", k, t))
        along = (scaled * normal).mean(p.over, keepdim=True)
        gradient = (scaled - scaled.mean(p.over, keepdim=True) - normal * along) * inverse
        return gradient, (delta * normal).sum(rest), delta.sum(rest)

    return function


def derivative(function):
    """At zero, by forward mode."""
    zero = torch.zeros((), dtype=torch.float64)
    return torch.func.jvp(function, (zero,), (torch.ones_like(zero),))[1]


def close(ours: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype, size: float = 1.0) -> None:
    bound = 40 * torch.finfo(dtype).eps * size * max(1.0, exact.abs().max().item())
    torch.testing.assert_close(ours.double().cpu(), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("order", ORDERS)
@every_case
def test_tangents_are_those_of_torch_in_float64(device, dtype, name, problem, shape, order):
    p = problem(shape, dtype)
    given = p.forwards(order, device)
    assert call(name, "tangent_", given) is given["out"]
    for k in range(shape[0]):
        close(given["out"][k], derivative(forward(p, k)), dtype)


@pytest.mark.parametrize("order", ORDERS)
@every_case
def test_gradient_tangents_are_derivatives_of_the_backward_pass(
    device, dtype, name, problem, shape, order
):
    p = problem(shape, dtype)
    given = p.backwards(order, device)
    weight_rows, bias_rows = call(name, "gradient_tangent_", given)
    assert weight_rows.dtype == bias_rows.dtype == torch.float64
    for k in range(shape[0]):
        exact = derivative(backward(p, k))
        close(given["out"][k], exact[0], dtype)
        close(weight_rows[k], exact[1], dtype, p.x.numel() ** 0.5)
        close(bias_rows[k], exact[2], dtype, p.x.numel() ** 0.5)


@pytest.mark.parametrize(
    ("problem", "shape"), [(LayerNormProblem, (1, 6, 5)), (BatchNormProblem, (1, 6, 5, 4))]
)
def test_the_layers_of_these_tests_are_those_of_torch(problem, shape):
    p = problem(shape, torch.float64)
    x, weight = p.x.clone().requires_grad_(), p.weight.clone().requires_grad_()
    if problem is LayerNormProblem:
        y = F.layer_norm(x, x.shape[1:], weight, None, p.eps)
    else:
        y = F.batch_norm(x, None, None, weight, None, training=True, eps=p.eps)
    zero = torch.zeros(())
    torch.testing.assert_close(forward(p, 0)(zero), y)
    theirs = torch.autograd.grad(y, (x, weight), p.delta)
    for ours, expected in zip(backward(p, 0)(zero), theirs, strict=False):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("order", ORDERS)
@every_case
def test_forms_are_second_derivatives(device, dtype, name, problem, shape, order):
    p = problem(shape, dtype)
    forms = call(name, "quadratic", p.form(order, device))
    assert forms.dtype == torch.float64
    for k in range(shape[0]):
        along = forward(p, k)
        bend = derivative(lambda t, f=along: torch.func.jvp(f, (t,), (torch.ones_like(t),))[1])
        exact = (bend * p.delta.double()).sum()
        size = (bend * p.delta.double()).abs().sum().item() + 1e-3
        close(forms[k] / size, exact / size, dtype)


def absent(given, missing):
    """The arguments without ``missing``, and with zeros or ones in its place."""
    plain = torch.ones_like if missing == "weight" else torch.zeros_like
    return given | {missing: None}, given | {missing: plain(given[missing])}


@pytest.mark.parametrize("missing", ["dot", "weight", "weight_dot", "bias_dot"])
@each_kind
def test_what_is_absent_forwards_is_zero_or_one(device, dtype, name, problem, shape, missing):
    without, filled = absent(problem(shape, dtype).forwards("bk", device), missing)
    assert torch.equal(call(name, "tangent_", without).clone(), call(name, "tangent_", filled))


@pytest.mark.parametrize("missing", ["delta_dot", "x_dot", "weight", "weight_dot"])
@each_kind
def test_what_is_absent_backwards_is_zero_or_one(device, dtype, name, problem, shape, missing):
    given = problem(shape, dtype).backwards("bk", device)
    answers = []
    for variant in absent(given, missing):
        rows = call(name, "gradient_tangent_", variant)
        answers.append((given["out"].clone(), *rows))
    for without, filled in zip(*answers, strict=True):
        assert torch.equal(without, filled)


@pytest.mark.parametrize("missing", ["weight", "weight_dot"])
@each_kind
def test_what_is_absent_in_a_form_is_zero_or_one(device, dtype, name, problem, shape, missing):
    without, filled = absent(problem(shape, dtype).form("bk", device), missing)
    assert torch.equal(call(name, "quadratic", without), call(name, "quadratic", filled))


@each_kind
def test_a_common_shift_of_the_tangents_costs_no_digits(device, name, problem, shape):
    given = problem(shape, torch.float64).form("kb", device)
    forms = call(name, "quadratic", given)
    far = call(name, "quadratic", given | {"dot": given["dot"] + 1e6})
    # Only the shift itself is rounded; E[x'^2] - E[x']^2 would lose twelve digits.
    torch.testing.assert_close(far, forms, rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("name", "problem", "shape"), [(*LAYER, (3, 1500, 40)), (*BATCH, (3, 30, 9, 300))]
)
def test_repeats_and_thread_counts_give_equal_bits(device, dtype, name, problem, shape):
    p = problem(shape, dtype)
    answers = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            moved_on, back = p.forwards("bk", device), p.backwards("bk", device)
            call(name, "tangent_", moved_on)
            rows = call(name, "gradient_tangent_", back)
            form = call(name, "quadratic", p.form("bk", device))
            answers.append((moved_on["out"], back["out"], *rows, form))
    finally:
        torch.set_num_threads(threads)
    for answer in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answer, answers[0], strict=True))


EMPTY = [
    *((*LAYER, shape) for shape in ((0, 2, 3), (2, 0, 3), (2, 3, 0))),
    *((*BATCH, shape) for shape in ((0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 4, 0))),
]


@pytest.mark.parametrize(("name", "problem", "shape"), EMPTY)
def test_empty_blocks_have_sums_zero(device, dtype, name, problem, shape):
    p = problem(shape, dtype)
    assert call(name, "tangent_", p.forwards("kb", device)).shape == shape
    for rows in call(name, "gradient_tangent_", p.backwards("kb", device)):
        assert torch.equal(rows.cpu(), torch.zeros(shape[0], shape[2], dtype=torch.float64))
    forms = call(name, "quadratic", p.form("kb", device))
    assert torch.equal(forms.cpu(), torch.zeros(shape[0], dtype=torch.float64))

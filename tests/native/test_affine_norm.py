"""Tangents of a normalisation with given statistics, a sum and a relu; of its backward pass too."""

from __future__ import annotations

import pytest
import torch
from native.tangent_problems import ORDERS, NormProblem, backwards, block, forwards

from landscape_fast import _native

# (K, B, C, S): few positions, a vector's, odd ones, several runs; more channels than one task has.
SHAPES = [
    (1, 1, 1, 1),
    (3, 2, 5, 1),
    (2, 4, 70, 9),
    (3, 2, 33, 16),
    (5, 3, 2, 49),
    (2, 2, 3, 1100),
    (4, 70, 3, 4),
]


def doubles(*tensors):
    return tuple(tensor.double() for tensor in tensors)


def tangent_oracle(p: NormProblem) -> torch.Tensor:
    """Forward mode of the function itself, in float64, one tangent at a time."""
    primals = doubles(p.x, p.weight, p.bias, p.residual)
    dots = zip(*doubles(p.first + p.second, p.weight_dot, p.bias_dot, p.residual_dot), strict=True)
    return torch.stack([torch.func.jvp(p.forward, primals, dot)[1] for dot in dots])


def gradient_oracle(p: NormProblem) -> list[torch.Tensor]:
    """Forward mode of its backward pass: tangents of the gradients in x, weight and bias."""
    x, weight, bias, residual = doubles(p.x, p.weight, p.bias, p.residual)

    def backward(arriving, x, weight):
        _, pull = torch.func.vjp(lambda *a: p.forward(*a, residual), x, weight, bias)
        return pull(arriving)

    primals = (p.arriving.double(), x, weight)
    dots = zip(*doubles(p.first + p.second, p.x_dot, p.weight_dot), strict=True)
    each = [torch.func.jvp(backward, primals, dot)[1] for dot in dots]
    return [torch.stack(parts) for parts in zip(*each, strict=True)]


def close(ours, expected, dtype, terms=1):
    eps = torch.finfo(dtype).eps
    size = expected.abs().max().item() if expected.numel() else 1.0
    torch.testing.assert_close(
        ours.double().cpu(), expected, rtol=16 * eps, atol=16 * eps * (1 + size) * terms**0.5
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_tangent_is_that_of_forward_mode(device, dtype, shape, order):
    p = NormProblem(shape, dtype)
    given = forwards(p, order, device)
    result = _native.affine_norm_tangent_(**given)
    assert result is given["result"]
    close(result, tangent_oracle(p), dtype)
    assert torch.equal(given["first"].cpu(), p.first + p.second)
    assert torch.equal(given["second"].cpu(), p.second)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_tangent_of_the_backward_pass_is_that_of_forward_mode(device, dtype, shape, order):
    p = NormProblem(shape, dtype)
    given = backwards(p, order, device)
    weight_rows, bias_rows = _native.affine_norm_gradient_tangent_(**given)
    x_dot, weight_dot, bias_dot = gradient_oracle(p)
    close(given["result"], x_dot, dtype)
    terms = shape[1] * shape[3]
    assert weight_rows.dtype == bias_rows.dtype == torch.float64
    close(weight_rows, weight_dot, dtype, terms)
    close(bias_rows, bias_dot, dtype, terms)
    assert torch.equal(given["first"].cpu(), (p.first + p.second) * (p.output > 0))


@pytest.mark.parametrize("shape", [(3, 2, 5, 1), (5, 3, 2, 49)])
@pytest.mark.parametrize("missing", ["second", "weight_dot", "bias_dot", "residual", "output"])
def test_a_missing_operand_of_the_tangent_is_zero_or_keeps_all(device, dtype, shape, missing):
    p = NormProblem(shape, dtype)
    given = forwards(p, "kb", device)
    instead = torch.ones_like if missing == "output" else torch.zeros_like
    filled = {name: value.clone() for name, value in given.items()}
    filled[missing] = instead(given[missing])
    expected = _native.affine_norm_tangent_(**filled)
    result = _native.affine_norm_tangent_(**(given | {missing: None}))
    assert torch.equal(result, expected)


def test_parameters_alone_move_the_output(device, dtype):
    p = NormProblem((3, 2, 5, 4), dtype)
    given = forwards(p, "kb", device) | {"first": None, "second": None, "residual": None}
    p.first, p.second, p.residual_dot = (torch.zeros_like(p.first) for _ in range(3))
    close(_native.affine_norm_tangent_(**given), tangent_oracle(p), dtype)


@pytest.mark.parametrize("shape", [(3, 2, 5, 1), (5, 3, 2, 49)])
@pytest.mark.parametrize("missing", ["second", "x_dot", "weight_dot", "output"])
def test_a_missing_operand_of_the_backward_pass_is_zero_or_keeps_all(device, dtype, shape, missing):
    p = NormProblem(shape, dtype)
    given = backwards(p, "bk", device)
    instead = torch.ones_like if missing == "output" else torch.zeros_like
    filled = {name: value.clone() for name, value in given.items()}
    filled[missing] = instead(given[missing])
    expected = _native.affine_norm_gradient_tangent_(**filled)
    rows = _native.affine_norm_gradient_tangent_(**(given | {missing: None}))
    for name in ("first", "result"):
        assert torch.equal(given[name], filled[name]), name
    for ours, theirs in zip(rows, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_without_a_result_the_sums_are_the_same(device, dtype):
    given = backwards(NormProblem((3, 4, 5, 20), dtype), "kb", device)
    first = given["first"].clone()
    rows = _native.affine_norm_gradient_tangent_(**given)
    without = _native.affine_norm_gradient_tangent_(**(given | {"first": first, "result": None}))
    for ours, theirs in zip(without, rows, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(3, 2, 5, 1), (5, 3, 2, 49)])
def test_the_result_may_take_the_memory_of_second(device, dtype, shape, order):
    p = NormProblem(shape, dtype)
    for operation, given in (
        (_native.affine_norm_tangent_, forwards(p, order, device)),
        (_native.affine_norm_gradient_tangent_, backwards(p, order, device)),
    ):
        first, second = block(given["first"], order), block(given["second"], order)
        operation(**given)
        operation(**(given | {"first": first, "second": second, "result": second}))
        assert torch.equal(second, given["result"])
        assert torch.equal(first, given["first"])


def test_a_closed_relu_hides_even_nan(device, dtype):
    given = forwards(NormProblem((2, 2, 3, 40), dtype), "kb", device)
    given["residual"][:, :, 1] = torch.nan
    given["output"][:, 1] = 0
    assert (_native.affine_norm_tangent_(**given)[:, :, 1] == 0).all()


def test_float32_sums_are_made_in_float64(device):
    k, b, c, s = 1, 64, 2, 4096
    first = torch.full((k, b, c, s), 0.1, device=device)
    given = dict.fromkeys(("second", "result", "x_dot", "weight_dot", "output"))
    vectors = {name: torch.ones(c, device=device) for name in ("mean", "scale", "gain")}
    x = torch.zeros(b, c, s, device=device)
    _, rows = _native.affine_norm_gradient_tangent_(first, x=x, delta=x, **given, **vectors)
    exact = b * s * first[0, 0, 0, 0].double().cpu()
    assert ((rows.cpu() - exact).abs() <= 64 * 2**-24 * exact).all()


@pytest.mark.parametrize("shape", [(4, 3, 600, 5), (4, 3, 70, 60)])
def test_repeats_and_thread_counts_give_equal_bits(device, dtype, shape):
    answers = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            given = backwards(NormProblem(shape, dtype), "bk", device)
            rows = _native.affine_norm_gradient_tangent_(**given)
            answers.append((*rows, given["first"], given["result"]))
    finally:
        torch.set_num_threads(threads)
    for other in answers[1:]:
        for ours, theirs in zip(other, answers[0], strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 4, 0)])
def test_empty_blocks_have_sums_zero(device, dtype, shape):
    p = NormProblem(shape, dtype)
    assert _native.affine_norm_tangent_(**forwards(p, "kb", device)).shape == shape
    for rows in _native.affine_norm_gradient_tangent_(**backwards(p, "kb", device)):
        assert torch.equal(rows.cpu(), torch.zeros(shape[0], shape[2], dtype=torch.float64))

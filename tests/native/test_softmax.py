"""The second derivative of softmax cross-entropy: applied to tangents, and as quadratic forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from native.tangent_problems import ORDERS, SoftmaxProblem, block

from landscape_fast import _native

# (K, R, C): one of everything, few classes, a vector's width, many classes.
SHAPES = [(1, 1, 1), (3, 300, 10), (2, 5, 32), (9, 3, 1003)]


def hessian(problem: SoftmaxProblem, row: int) -> torch.Tensor:
    """Of one row's cross-entropy in its logits, (C, C) float64, by torch."""
    label = torch.tensor(0)
    return torch.func.hessian(lambda z: F.cross_entropy(z, label))(problem.logits[row])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_tangents_are_products_with_the_hessian_of_each_row(device, dtype, shape, order):
    problem = SoftmaxProblem(shape, dtype)
    dot = block(problem.dot.to(device), order)
    p, weight = problem.p.to(device), problem.row_weight.to(device)
    out = torch.full_like(dot, torch.nan)
    assert _native.softmax_tangent_(p, dot, weight, out) is out
    # Rows of float32 probabilities sum to one up to their rounding.
    eps = torch.finfo(dtype).eps
    for row in range(0, shape[1], 40):
        expected = problem.dot[:, row].double() @ hessian(problem, row)
        expected *= problem.row_weight[row].double()
        torch.testing.assert_close(out[:, row].double().cpu(), expected, rtol=0, atol=20 * eps)
    assert torch.equal(_native.softmax_tangent_(p, dot, weight, dot), out)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forms_are_weighted_variances(device, dtype, shape, order):
    problem = SoftmaxProblem(shape, dtype)
    dot = block(problem.dot.to(device), order)
    forms = _native.softmax_quadratic(problem.p.to(device), dot, problem.row_weight.to(device))
    p, z = problem.p.double(), problem.dot.double()
    centred = z - (p * z).sum(-1, keepdim=True)
    expected = ((p * centred.square()).sum(-1) * problem.row_weight.double()).sum(-1)
    assert forms.dtype == torch.float64
    torch.testing.assert_close(forms.cpu(), expected, rtol=1e-13, atol=1e-13)


def test_the_form_is_the_inner_product_with_the_tangent():
    problem = SoftmaxProblem((4, 20, 7), torch.float64)
    given = (problem.p, problem.dot, problem.row_weight)
    tangent = _native.softmax_tangent_(*given, torch.empty_like(problem.dot))
    expected = (tangent * problem.dot).sum((1, 2))
    torch.testing.assert_close(_native.softmax_quadratic(*given), expected, rtol=1e-12, atol=0)


def test_a_common_shift_of_the_tangents_costs_no_digits(device):
    problem = SoftmaxProblem((3, 50, 10), torch.float64)
    p, weight = problem.p.to(device), problem.row_weight.to(device)
    near, far = problem.dot.to(device), problem.dot.to(device) + 1e6
    forms = _native.softmax_quadratic(p, near, weight)
    # Only the shift itself is rounded; E[z^2] - E[z]^2 would lose twelve digits.
    torch.testing.assert_close(_native.softmax_quadratic(p, far, weight), forms, rtol=1e-8, atol=0)


def test_repeats_and_thread_counts_give_equal_bits(device, dtype):
    problem = SoftmaxProblem((4, 4000, 10), dtype)
    given = [t.to(device) for t in (problem.p, problem.dot, problem.row_weight)]
    answers = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            answers.append(_native.softmax_quadratic(*given))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_empty_blocks_have_forms_zero(device, dtype, shape):
    problem = SoftmaxProblem(shape, dtype)
    p, dot, weight = (t.to(device) for t in (problem.p, problem.dot, problem.row_weight))
    assert _native.softmax_tangent_(p, dot, weight, torch.empty_like(dot)).shape == shape
    forms = _native.softmax_quadratic(p, dot, weight)
    assert torch.equal(forms.cpu(), torch.zeros(shape[0], dtype=torch.float64))

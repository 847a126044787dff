"""Hutch++ and XTrace: unbiased, exact where they can be, better than sign vectors, honest."""

from __future__ import annotations

import pytest
import torch
from oracles import symmetric_matrix

from landscape_fast.krylov.hutchpp import hutchpp
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.krylov.trace import hutchinson
from landscape_fast.krylov.xtrace import xtrace

BOTH = [hutchpp, xtrace]
PLACES = torch.arange(80).double()
SPECTRA = {
    "exponential": 0.7**PLACES,
    "quadratic": 1 / (1 + PLACES) ** 2,
    "slow": 1 / (1 + PLACES).sqrt(),
    "indefinite": torch.linspace(-1, 1.5, 80).double() ** 3,
}


def problem(name, dtype=torch.float64):
    values = SPECTRA[name]
    return DenseOperator(symmetric_matrix(values).to(dtype)), float(values.sum())


def errors(method, name, products, seeds):
    op, exact = problem(name)
    runs = [method(op, rtol=0, seed=seed, max_products=products) for seed in range(seeds)]
    return torch.tensor([run.value - exact for run in runs]).double(), runs, exact


@pytest.mark.parametrize("name", ["quadratic", "slow", "indefinite"])
@pytest.mark.parametrize("method", BOTH)
def test_the_mean_over_seeds_is_the_trace(method, name):
    error, runs, _ = errors(method, name, 24, 150)
    assert abs(float(error.mean())) < 4 * float(error.std()) / 150**0.5
    assert {run.products for run in runs} == {24}


@pytest.mark.parametrize("method", BOTH)
def test_where_the_spectrum_decays_the_error_is_far_below_that_of_sign_vectors(method):
    for name, factor in (("exponential", 20), ("quadratic", 5)):
        ours = errors(method, name, 48, 20)[0].square().mean().sqrt()
        plain = errors(hutchinson, name, 48, 20)[0].square().mean().sqrt()
        assert float(ours) * factor < float(plain)


def test_leaving_one_out_needs_fewer_products_than_a_third_for_each_part():
    for name in ("exponential", "quadratic"):
        better = errors(xtrace, name, 48, 20)[0].square().mean().sqrt()
        assert float(better) < float(errors(hutchpp, name, 48, 20)[0].square().mean().sqrt())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", BOTH)
def test_a_matrix_of_low_rank_is_exact_and_says_so(method, dtype):
    values = torch.zeros(90)
    values[:4] = torch.tensor([3.0, -1.0, 0.5, 0.5])
    found = method(DenseOperator(symmetric_matrix(values).to(dtype)), rtol=0)
    assert found.stderr == 0.0
    assert found.converged
    assert abs(found.value - 3.0) <= found.rounding
    assert found.rounding < 1e3 * torch.finfo(dtype).eps
    assert found.products < 40


@pytest.mark.parametrize("method", BOTH)
def test_many_directions_that_vanish_one_by_one_count_together(method):
    n = 20_000
    values = torch.full((n,), 1e-8)
    values[0] = 1.0
    op = Diagonal(values)
    truth = float(values.double().sum())
    coarse = method(op, rtol=1e-2)
    assert coarse.stderr == 0.0
    assert abs(coarse.value - truth) <= coarse.rounding < 1e-2
    fine = method(op, rtol=2e-5)
    assert fine.converged
    assert 0 < fine.stderr <= 2e-5 * fine.value
    assert abs(fine.value - truth) <= 5 * fine.stderr + fine.rounding


def test_rounding_is_that_of_what_was_summed_where_it_cancels():
    diagonal = torch.tensor([1000.0, -1000.0, 1e-3])
    found = xtrace(Diagonal(diagonal), rtol=1e-3)
    assert found.stderr == 0.0
    assert found.rounding >= 2000 * torch.finfo(torch.float32).eps


class Diagonal:
    """A diagonal matrix as an operator."""

    samples = 1

    def __init__(self, values):
        self._values = values
        self.shape, self.dtype = (len(values), len(values)), values.dtype
        self.device = values.device

    def __call__(self, block):
        return block * self._values


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("method", BOTH)
def test_tiny_matrices_are_exact_at_n_products(method, n):
    matrix = symmetric_matrix(torch.arange(1.0, n + 1))
    found = method(DenseOperator(matrix), rtol=0)
    assert found.value == pytest.approx(n * (n + 1) / 2)
    assert (found.stderr, found.products, found.converged) == (0.0, n, True)


@pytest.mark.parametrize("method", BOTH)
def test_it_is_exact_when_products_reach_the_dimension(method):
    op, exact = problem("slow")
    found = method(op, rtol=0, max_products=1000)
    assert found.value == pytest.approx(exact, rel=1e-12)
    assert found.stderr == 0.0
    assert found.products < 3 * 80


@pytest.mark.parametrize("method", BOTH)
def test_it_grows_until_the_error_asked_for_and_no_further(method):
    op, exact = problem("quadratic")
    loose, tight = (method(op, rtol=rtol) for rtol in (0.1, 1e-3))
    assert loose.products < tight.products
    assert tight.converged
    assert tight.stderr <= 1e-3 * tight.value
    assert abs(tight.value - exact) < 5 * tight.stderr
    short = method(op, rtol=1e-9, max_products=30)
    assert not short.converged
    assert short.products <= 30


@pytest.mark.parametrize("method", BOTH)
def test_growing_and_blocks_change_nothing_but_rounding(method):
    op, _ = problem("quadratic")
    grown = method(op, rtol=0, max_products=72)  # in several enlargements
    by_three = method(op, rtol=0, max_products=72, block=3)
    assert grown.products == by_three.products == 72
    assert grown.value == pytest.approx(by_three.value, rel=1e-12)


@pytest.mark.parametrize("method", BOTH)
def test_a_zero_matrix_has_trace_zero(method):
    found = method(DenseOperator(torch.zeros(50, 50)))
    assert (found.value, found.stderr, found.converged) == (0.0, 0.0, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name", "least"),
    [
        (hutchpp, "quadratic", 0.90),
        (hutchpp, "slow", 0.90),
        (hutchpp, "indefinite", 0.90),
        # The leave-one-out error of a slow decay is known to be too small.
        (xtrace, "quadratic", 0.80),
        (xtrace, "slow", 0.70),
    ],
)
def test_how_often_the_interval_holds_the_trace(method, name, least):
    _, runs, exact = errors(method, name, 48, 200)
    held = [low <= exact <= high for low, high in (run.interval(0.95) for run in runs)]
    assert least <= sum(held) / 200 <= 0.99


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"block": 0}, "block must be a whole number of at least 1, got 0"),
        ({"max_products": 3}, "max_products must be a whole number of at least"),
        ({"rtol": -1}, "rtol must be at least 0"),
    ],
)
@pytest.mark.parametrize("method", BOTH)
def test_arguments_out_of_range_are_named(method, arguments, text):
    with pytest.raises(ValueError, match=text):
        method(DenseOperator(torch.eye(3)), **arguments)


@pytest.mark.parametrize("method", BOTH)
def test_operators_of_scipy_are_taken(method):
    from scipy.sparse.linalg import aslinearoperator

    matrix = symmetric_matrix(SPECTRA["quadratic"])
    found = method(aslinearoperator(matrix.numpy()), max_products=30)
    assert found.value == pytest.approx(method(DenseOperator(matrix), max_products=30).value)

from __future__ import annotations

import math

import pytest
import torch
from oracles import symmetric_matrix

from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.krylov.trace import hutchinson
from landscape_fast.results import Trace

VALUES = torch.cat([torch.tensor([20.0, 10.0]), torch.linspace(-1, 1, 58)])


def test_a_diagonal_is_exact_after_the_pilot():
    result = hutchinson(DenseOperator(torch.diag(VALUES).double()), rtol=0)
    assert result.value == pytest.approx(float(VALUES.double().sum()), rel=1e-14)
    assert result.stderr == pytest.approx(0.0, abs=1e-12)


def test_the_block_size_does_not_change_the_draws():
    op = DenseOperator(symmetric_matrix(VALUES))
    draws = [hutchinson(op, rtol=0.1, block=block).draws for block in (1, 7, 64)]
    assert torch.allclose(draws[0], draws[1], rtol=1e-12)
    assert torch.allclose(draws[0], draws[2], rtol=1e-12)


def test_the_standard_error_asked_for_is_reached_or_admitted():
    op = DenseOperator(symmetric_matrix(VALUES))
    good = hutchinson(op, rtol=0.05)
    assert good.converged
    assert good.stderr <= 0.05 * abs(good.value)
    assert good.products == len(good.draws)
    poor = hutchinson(op, rtol=1e-6, max_products=40)
    assert not poor.converged
    assert poor.products == 40
    with pytest.raises(ArithmeticError, match="raise max_products or rtol"):
        poor.require()


def test_the_variance_of_a_draw_is_the_formulas():
    matrix = symmetric_matrix(VALUES)
    draws = hutchinson(DenseOperator(matrix), rtol=0, max_products=4000).draws
    exact = 2 * (matrix.square().sum() - matrix.diagonal().square().sum())
    assert float(draws.var()) == pytest.approx(float(exact), rel=0.1)


SPECTRA = {
    "decaying": (20 * 0.8 ** torch.arange(60.0), 0.06),
    "one outlier": (torch.cat([torch.tensor([50.0]), torch.linspace(0, 1, 59)]), 0.06),
    "two outliers and a bulk of both signs": (VALUES, 0.06),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_stated_intervals_cover_the_truth_as_often_as_they_say(name):
    values, rtol = SPECTRA[name]
    op = DenseOperator(symmetric_matrix(values))
    truth = float(values.double().sum())
    hits = 0
    for seed in range(200):
        low, high = hutchinson(op, rtol=rtol, seed=seed).interval(0.95)
        hits += low <= truth <= high
    assert 0.90 <= hits / 200 <= 0.99


def test_atol_ends_the_run_where_the_trace_is_zero():
    values = torch.cat([torch.linspace(0.1, 1, 30), -torch.linspace(0.1, 1, 30)])
    result = hutchinson(DenseOperator(symmetric_matrix(values)), atol=0.5, max_products=10_000)
    assert result.converged
    assert result.products < 2000


def test_the_interval_is_students():
    draws = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    result = Trace(
        value=3.0,
        stderr=float(draws.std()) / 2,
        draws=draws,
        converged=True,
        products=4,
        samples=0,
    )
    half = 3.182446 * float(draws.std()) / 2
    assert result.interval() == pytest.approx((3.0 - half, 3.0 + half), rel=1e-6)
    with pytest.raises(ValueError, match="level must be positive and below 1"):
        result.interval(1.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rtol": -1.0}, "rtol must be at least 0 and finite, got -1.0"),
        ({"rtol": math.nan}, "rtol must be at least 0"),
        ({"block": 0}, "block must be a whole number of at least 1"),
        ({"max_products": 1}, "max_products must be a whole number of at least 2"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        hutchinson(DenseOperator(torch.eye(4)), **arguments)

from __future__ import annotations

import pytest
import torch
from oracles import assert_same_state, snapshot
from torch import nn
from trace_problems import problem

from landscape_fast import NotConverged, frobenius_norm


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_the_norm_of_the_dense_matrix_lies_in_the_interval(gauss_newton):
    model, loader, hessian, gauss = problem()
    exact = float((gauss if gauss_newton else hessian).norm())
    before = snapshot(model)
    result = frobenius_norm(model, loader, gauss_newton=gauss_newton, rtol=0.02)
    assert_same_state(model, before)
    assert result.converged
    assert 0 < result.stderr <= 0.02 * result.value
    assert result.value == pytest.approx(float(result.draws.mean()) ** 0.5)
    low, high = result.interval(0.999)
    assert low <= exact <= high
    assert low < result.value < high


def test_a_zero_matrix_has_the_norm_zero():
    model = nn.Linear(2, 1, bias=False)
    data = [(torch.zeros(3, 2), torch.zeros(3, 1))]
    result = frobenius_norm(model, data, criterion=nn.MSELoss())
    assert (result.value, result.stderr, result.interval()) == (0.0, 0.0, (0.0, 0.0))


def test_an_error_that_is_not_reached_is_admitted():
    model, loader, _, _ = problem()
    result = frobenius_norm(model, loader, rtol=1e-4, max_products=20)
    assert result.products == 20
    with pytest.raises(NotConverged, match="norm"):
        result.require()


def test_arguments_out_of_range_are_named():
    model, loader, _, _ = problem()
    with pytest.raises(ValueError, match="rtol"):
        frobenius_norm(model, loader, rtol=-1.0)

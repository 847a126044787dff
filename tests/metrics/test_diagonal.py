from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from oracles import (
    assert_relative,
    assert_same_state,
    classification,
    conv_net,
    dense_hessian,
    snapshot,
)
from torch import nn
from trace_problems import fitted, problem

from landscape_fast import NotConverged, diagonal
from landscape_fast.metrics.probes import Probes


def test_a_piecewise_linear_network_has_its_exact_diagonal_by_name():
    model, loader, exact, _ = problem(conv_net, (1, 6, 6))
    before = snapshot(model)
    result = diagonal(model, loader, rtol=0, rtol_omitted=0)
    assert_same_state(model, before)
    assert_relative(result.values, exact.diagonal(), 1e-12)
    assert not result.stderr.any()
    assert result.converged
    assert result.exact == result.names
    named = result.named()
    assert {name: part.shape for name, part in named.items()} == {
        name: parameter.shape for name, parameter in model.named_parameters()
    }
    assert torch.equal(torch.cat([part.reshape(-1) for part in named.values()]), result.values)


def test_entries_of_a_smooth_network_lie_within_their_errors(monkeypatch):
    monkeypatch.setattr(Probes, "exact_price", math.inf)  # as of a large network
    model, loader, exact, gauss = problem()
    exact, gauss = exact.diagonal(), gauss.diagonal()
    result = diagonal(model, loader, rtol=0.02, max_products=4000, rtol_omitted=0)
    assert result.converged
    assert_relative(result.values[36:], exact[36:], 1e-12)
    assert not result.stderr[36:].any()
    error = (result.values - exact)[:36].abs() / result.stderr[:36]
    assert float((error < 2).double().mean()) > 0.85
    assert float((result.values - exact).norm() / exact.norm()) < 0.04
    assert float((gauss - exact).norm() / exact.norm()) > 0.2


@pytest.mark.parametrize("rtol", [0.0, 0.001])
def test_a_smooth_network_of_few_parameters_is_exact_where_draws_would_cost_more(rtol):
    model, loader, exact, _ = problem()
    result = diagonal(model, loader, rtol=rtol, rtol_omitted=0)
    assert_relative(result.values, exact.diagonal(), 1e-12)
    assert not result.stderr.any()
    assert result.converged
    assert not diagonal(model, loader, rtol=rtol, rtol_omitted=0, max_products=60).converged


def test_the_gauss_newton_diagonal_alone():
    model, loader, _, gauss = problem()
    result = diagonal(model, loader, gauss_newton=True, rtol_omitted=0)
    assert_relative(result.values, gauss.diagonal(), 1e-12)
    assert result.exact == result.names


def test_too_few_products_are_not_called_converged():
    model, loader, _, _ = problem()
    result = diagonal(model, loader, rtol=1e-6, max_products=20)
    assert result.products == 22
    with pytest.raises(NotConverged, match="norm"):
        result.require()


def test_a_loss_that_cannot_be_cut_is_estimated_whole_and_says_so():
    model, loader, _, _ = problem()

    def penalised(m, batch):
        penalty = sum(p.square().sum() for p in m.parameters())
        return F.cross_entropy(m(batch[0]), batch[1]) + penalty

    exact = dense_hessian(model, lambda m: penalised(m, loader[0])).diagonal()
    result = diagonal(model, loader[:1], loss_fn=penalised, rtol=0.02)
    assert "cut" in result.note
    assert result.exact == ()
    assert float((result.values - exact).norm() / exact.norm()) < 0.04


def test_what_is_omitted_is_estimated_entry_by_entry():
    model, loader, exact, _ = fitted()
    result = diagonal(model, loader, rtol_omitted=0.2, seed=1)
    assert 0.1 < result.omitted <= 0.2
    assert result.converged
    error = (result.values - exact.diagonal()).abs()
    assert 0 < float(error.norm()) < 2.5 * float(result.stderr.norm())
    assert float(result.stderr.norm() / exact.diagonal().norm()) < 0.05
    # Seven degrees of freedom, and entries that go together.
    assert float((error <= 2.4 * result.stderr).double().mean()) > 0.7


class Averaged(nn.Module):
    """Sequences of any length, averaged."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.out = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.first(x).relu().mean(1))


def test_sequences_of_many_lengths_and_batches_of_one_row_are_summed_exactly():
    model, loader = Averaged().double(), []
    for rows, length in ((1, 3), (4, 3), (2, 5), (1, 5), (3, 2)):
        x, y = classification(rows, (length, 4), seed=length + rows)
        loader.append((x.double(), y))

    def loss(m):
        return sum(F.cross_entropy(m(x), y, reduction="sum") for x, y in loader) / 11

    exact = dense_hessian(model, loss).diagonal()
    result = diagonal(model, loader, rtol=0, rtol_omitted=0)
    assert (result.note, result.exact) == (None, result.names)
    assert_relative(result.values, exact, 1e-12)
    alone = [(x[row : row + 1], y[row : row + 1]) for x, y in loader for row in range(len(y))]
    assert_relative(diagonal(model, alone, rtol=0, rtol_omitted=0).values, exact, 1e-12)

"""Stated intervals hold the truth as often as they say, with nothing summed exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from oracles import mlp
from torch import nn
from trace_problems import fitted, problem

from landscape_fast.krylov.allocation import Estimated, sum_until
from landscape_fast.linearise.samplewise import sampling
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal
from landscape_fast.metrics.open_part import OpenPart
from landscape_fast.metrics.trace import rest_of
from landscape_fast.results import Trace

SEEDS = 200
LOSS = {"criterion": None, "loss_fn": None}


def nothing_is_certain(sizes, rtol, group):
    return torch.zeros(sizes.shape, dtype=torch.bool), True


def never_summed(part):
    larger = None if part.larger is None else never_summed(part.larger)
    return replace(part, exact=None, exact_price=math.inf, larger=larger)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fitted relu", "untrained relu", "fitted gelu", "untrained tanh"])
def test_intervals_of_networks_cover_as_often_as_they_say(name, monkeypatch):
    monkeypatch.setattr("landscape_fast.linearise.samplewise.dataset.split", nothing_is_certain)
    state, kind = name.split()
    activation = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}[kind]
    model, loader, exact, _ = (
        fitted(activation=activation)
        if state == "fitted"
        else problem(lambda: mlp(activation=activation), rows=300)
    )
    known = GaussNewtonDiagonal(
        model, loader, **LOSS, params=None, memory_budget=None, rtol_omitted=0.0
    )
    assert not known.values.any()
    hits = 0
    for seed in range(SEEDS):
        open_part = OpenPart(model, known, False, False, LOSS, None, "float32", seed)
        # Without the sum that a network this small allows: draws are what is tested.
        drawn_only = [never_summed(part) for part in open_part.parts]
        parts = [rest_of(known, seed), *drawn_only]
        run = sum_until(parts, rtol=0.1, atol=0.0, max_products=10_000)
        found = Estimated(run.draws)
        assert run.converged
        low, high = Trace(
            value=found.value,
            stderr=math.sqrt(found.variance),
            draws=found.value + found.dearest(),
            converged=run.converged,
            products=0,
            samples=known.samples,
            freedom=found.freedom,
        ).interval()
        hits += low <= float(exact.trace()) <= high
    assert 0.90 * SEEDS <= hits <= 0.99 * SEEDS


def test_a_group_of_draws_weighs_to_the_whole_on_average():
    sizes = torch.tensor([5.0, 1.0, 0.25, 3.0, 0.75], dtype=torch.float64)
    values = torch.tensor([2.0, -1.0, 4.0, 0.5, 10.0], dtype=torch.float64)
    sums = []
    for index in range(4000):
        places, weights = sampling.systematic(sizes, 3, seed=2, index=index)
        assert float((weights * sizes[places]).sum()) == pytest.approx(10.0)
        sums.append(float((weights * values[places]).sum()))
    sums = torch.tensor(sums)
    assert abs(float(sums.mean() - values.sum())) < 4 * float(sums.std()) / 4000**0.5


def test_the_split_takes_the_largest_and_pays_less_than_for_all():
    sizes = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)).double() ** 12
    taken, drawn = sampling.split(sizes, 0.01, 8)
    assert drawn
    assert 0 < int(taken.sum()) < 1000
    assert float(sizes[taken].min()) >= float(sizes[~taken].max())
    everything, drawn = sampling.split(sizes, 0.0, 8)
    assert not drawn
    assert everything.all()
    few, drawn = sampling.split(sizes[:40], 0.01, 8)
    assert not drawn
    assert few.all()


def test_large_draws_of_the_gauss_newton_part_estimate_the_same(monkeypatch):
    monkeypatch.setattr("landscape_fast.linearise.samplewise.dataset.split", nothing_is_certain)
    model, loader, _, gauss = fitted()
    known = GaussNewtonDiagonal(
        model, loader, **LOSS, params=None, memory_budget=None, rtol_omitted=0.0
    )
    small = rest_of(known, 0)
    large = small.larger
    assert large is not None
    assert large.price / small.price == known.large_group / known.group >= 8
    spread = []
    for part in (small, large):
        drawn = part.draw(0, 64).sum(1)
        spread.append(float(drawn.std()))
        assert abs(float(drawn.mean() - gauss.trace())) < 4 * spread[-1] / 8
    assert spread[1] < 0.6 * spread[0]


def test_large_draws_of_the_rest_of_the_hessian_estimate_the_same():
    model, loader, exact, gauss = fitted(activation=nn.GELU)
    known = GaussNewtonDiagonal(
        model, loader, **LOSS, params=None, memory_budget=None, rtol_omitted=0.0
    )
    (part,) = OpenPart(model, known, False, False, LOSS, None, "float64", 0).parts
    assert part.larger is not None
    wanted = float((exact - gauss).trace())
    spread = []
    for kind in (part, part.larger):
        drawn = kind.draw(0, 64).sum(1)
        spread.append(float(drawn.std()))
        assert abs(float(drawn.mean()) - wanted) < 4 * spread[-1] / 8
    assert spread[1] < 0.8 * spread[0]

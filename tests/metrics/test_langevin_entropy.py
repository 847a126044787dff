"""Local entropy by Langevin moves against Gaussian integrals, and moves against their balance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import assert_same_state, classification, conv_net, mlp, snapshot
from torch import nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics import langevin_entropy
from landscape_fast.metrics.langevin_entropy import langevin_local_entropy
from landscape_fast.metrics.placed import PlacedNetwork

SQUARES = nn.MSELoss()


def least_squares(n=8, *, offset=0.5):
    """A quadratic loss with its data, and the log of the mean of exp(-L) for any gamma."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Linear(n, 1, bias=False).double()
    x = torch.randn(2 * n, n, generator=generator).double()
    y = model(x).detach() + offset
    hessian, gradient = 2 * x.T @ x / len(x), -2 * offset * x.mean(0)

    def exact(gamma):
        shifted = hessian + gamma * torch.eye(n).double()
        determinant = float(torch.logdet(shifted / gamma))
        form = float(gradient @ torch.linalg.solve(shifted, gradient))
        return -(offset**2) - determinant / 2 + form / 2

    return model, [(x, y)], exact


@pytest.mark.parametrize("gamma", [1.0, 20.0])
def test_the_value_is_that_of_the_gaussian_integral_within_its_error(gamma):
    model, data, exact = least_squares()
    found = langevin_local_entropy(
        model, data, gamma=gamma, criterion=SQUARES, runs=64, steps=30, seed=1
    )
    low, high = found.interval(0.999)
    assert low < exact(gamma) < high
    assert found.stderr < 0.1
    assert 0.5 < found.acceptance <= 1.0


@pytest.mark.slow
def test_the_stated_error_covers_the_truth():
    model, data, exact = least_squares()
    held = 0
    for seed in range(60):
        found = langevin_local_entropy(
            model, data, gamma=1.0, criterion=SQUARES, runs=16, steps=20, seed=seed
        )
        low, high = found.interval(0.9)
        held += low <= exact(1.0) <= high
    assert held >= 46  # of 60 at 90%: fewer happen once in 500


def test_one_step_is_the_mean_over_the_gaussian_and_more_steps_have_less_error():
    model, data, exact = least_squares(offset=0.0)
    plain = langevin_local_entropy(model, data, gamma=1.0, criterion=SQUARES, runs=400, steps=1)
    moved = langevin_local_entropy(model, data, gamma=1.0, criterion=SQUARES, runs=40, steps=10)
    assert plain.acceptance is None
    assert abs(plain.value - exact(1.0)) < 4 * plain.stderr
    assert moved.draws.std() < plain.draws.std() / 3


def test_a_loss_that_is_the_same_everywhere_has_minus_itself():
    model, data, _ = least_squares()

    def constant(network, batch):
        return 0 * network(batch[0]).mean() + 1.25

    found = langevin_local_entropy(model, data, gamma=1.0, loss_fn=constant, runs=2)
    assert (found.value, found.stderr) == (pytest.approx(-1.25), pytest.approx(0.0, abs=1e-12))
    assert found.acceptance == 1.0


def test_moves_are_taken_by_the_ratio_of_densities():
    """The rule against the Gaussian densities of a proposal and of its reverse."""
    gamma, part, size = 0.7, 0.6, 0.9
    model, (x, y) = mlp().double(), classification(9)
    network = PlacedNetwork(model)
    around = langevin_entropy._Neighbourhood(
        network, Batches([(x.double(), y)], device="cpu"), Objective(), gamma
    )
    draws = torch.Generator().manual_seed(0)
    here, there = (around._at(around._noise(draws)) for _ in range(2))

    def log_density(point):
        return -part * point.loss - gamma / 2 * float(point.offset.square().sum())

    def log_proposal(start, end):
        mean = (2 - size) * start.offset - 2 * size * part / gamma * start.gradient
        spread = math.sqrt(8 * size / gamma) / (2 + size)
        return -float((end.offset - mean / (2 + size)).square().sum()) / (2 * spread**2)

    wanted = (log_density(there) + log_proposal(there, here)) - (
        log_density(here) + log_proposal(here, there)
    )
    assert around._balance(here, there, part, size) == pytest.approx(wanted, rel=1e-9)


def test_a_run_depends_on_its_seed_and_index_alone():
    model, data, _ = least_squares()
    options = {"gamma": 1.0, "criterion": SQUARES, "steps": 4}
    few = langevin_local_entropy(model, data, runs=2, **options)
    more = langevin_local_entropy(model, data, runs=4, **options)
    assert torch.equal(more.draws[:2], few.draws)
    other = langevin_local_entropy(model, data, runs=2, seed=1, **options)
    assert not torch.equal(other.draws, few.draws)
    assert len(set(np.round(more.draws.tolist(), 12))) == 4


def test_a_loss_that_is_no_number_gives_nan_and_an_infinite_one_weighs_nothing():
    model, data, _ = least_squares()

    def spoiled(value):
        return lambda network, batch: network(batch[0]).mean() * 0 + value

    def value(loss):
        options = {"gamma": 1.0, "loss_fn": spoiled(loss), "runs": 2, "steps": 3}
        return langevin_local_entropy(model, data, **options).value

    assert math.isnan(value(math.nan))
    assert value(math.inf) == -math.inf


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_as_it_went_in(fails):
    model = conv_net()
    before = snapshot(model)
    batches = [classification(12, (1, 6, 6))]
    if fails:
        batches.append((torch.ones(3, 5), torch.zeros(3).long()))
        with pytest.raises(RuntimeError):
            langevin_local_entropy(model, batches, gamma=100.0, runs=2, steps=3)
    else:
        langevin_local_entropy(model, batches, gamma=100.0, runs=2, steps=3)
    assert_same_state(model, before)


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.0},
        {"gamma": math.inf},
        {"runs": 0},
        {"steps": 0},
        {"step_size": 0.0},
        {"step_size": 2.5},
        {"seed": -1},
    ],
)
def test_wrong_arguments_are_named(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must"):
        langevin_local_entropy(mlp(), [classification(5)], **{"gamma": 1.0, **options})

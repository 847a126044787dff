"""Excess of positive curvature against dense Hessians, and in planes against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_same_state, classification, cut, dense_hessian, mlp, snapshot
from torch import nn

from landscape_fast import goldilocks_zone, plane_curvature, quality
from landscape_fast.results import GoldilocksZone
from landscape_fast.results.curvature import excess_in_plane
from landscape_fast.store import Store


def scaled(model, scale):
    for parameter in model.parameters():
        parameter.data *= scale
    return model


def test_the_excess_is_that_of_the_dense_hessian_at_every_scale():
    x, y = classification(30)
    data = [(x.double(), y)]
    found = goldilocks_zone(mlp().double(), data, [0.3, 4.0], rtol=0.05)
    assert found.converged.all()
    for place, scale in enumerate(found.scales):
        there = scaled(mlp().double(), scale)
        hessian = dense_hessian(there, lambda m: nn.functional.cross_entropy(m(x.double()), y))
        exact = float(hessian.trace() / hessian.norm())
        assert abs(float(found.excess[place]) - exact) <= 4 * float(found.stderr[place]) + 1e-9
        assert float(found.losses[place]) == pytest.approx(quality(there, data).loss)
    assert found.dimension == 57
    start = nn.utils.parameters_to_vector(mlp().parameters()).detach()
    assert found.radius == pytest.approx(float(start.norm()))


def diagonal_bowl(values):
    """A linear model and data whose squared error has the Hessian diag(values)."""
    n = len(values)
    model = nn.Linear(n, 1, bias=False).double()
    x = torch.diag((values.double() * n / 2).sqrt())
    return model, [(x, torch.zeros(n, 1).double())]


def test_a_plane_of_all_dimensions_has_the_eigenvalues_of_the_hessian():
    values = torch.linspace(1, 3, 7)
    model, data = diagonal_bowl(values)
    found = plane_curvature(model, data, 7, criterion=nn.MSELoss())
    torch.testing.assert_close(found.values[0], values.flip(0).double(), rtol=1e-10, atol=1e-10)
    assert found.positive.tolist() == [1.0]
    assert float(found.excess) == pytest.approx(float(values.sum() / values.norm()))


def test_random_planes_have_the_excess_of_the_formula():
    """Means over planes: trace d tr H / n, and the squared norm of Gaussian planes for n >> d."""
    n, d = 300, 4
    values = torch.linspace(0.1, 2, n) ** 3
    model, data = diagonal_bowl(values)
    found = plane_curvature(model, data, d, planes=150, criterion=nn.MSELoss())
    trace = found.values.sum(1)
    assert float(trace.mean()) == pytest.approx(float(values.sum()) * d / n, rel=0.03)
    tau = float(values.sum() / values.norm())
    typical = float(trace.mean() / found.values.square().sum(1).mean().sqrt())
    assert typical == pytest.approx(excess_in_plane(tau, d), rel=0.02)


def test_the_excess_in_a_plane_has_its_limits():
    assert excess_in_plane(0.0, 5) == 0.0
    assert excess_in_plane(1e6, 9) == pytest.approx(3.0)  # sqrt(d): all eigenvalues equal
    assert excess_in_plane(2.0, 10**9) == pytest.approx(2.0)


def test_the_peak_is_found_past_nan():
    found = GoldilocksZone(
        scales=(0.1, 1.0, 10.0),
        traces=torch.tensor([0.0, 4.0, 3.0]).double(),
        trace_stderr=torch.tensor([0.0, 0.2, 0.0]).double(),
        norms=torch.tensor([0.0, 2.0, 1.0]).double(),
        norm_stderr=torch.tensor([0.0, 0.1, 0.0]).double(),
        losses=torch.zeros(3).double(),
        converged=torch.ones(3).bool(),
        dimension=16,
        radius=1.0,
        samples=5,
    )
    assert found.peak == (10.0, 3.0)
    assert float(found.stderr[1]) == pytest.approx(math.hypot(0.2 / 2, 2 * 0.1 / 2))
    assert found.in_plane(3)[2] == pytest.approx(math.sqrt(3) * 3 / math.sqrt(13))


def test_models_come_back_untouched_and_results_from_the_store(tmp_path):
    model, data = mlp().train(), cut(classification(9), [4, 5])
    before = snapshot(model)
    store = Store(tmp_path)
    store.save("key", "zone", goldilocks_zone(model, data, [0.5, 1.0], rtol=0.5))
    store.save("key", "plane", plane_curvature(model, data, 2, planes=3))
    assert_same_state(model, before)
    assert store.load("key", "zone").scales == (0.5, 1.0)
    assert store.load("key", "plane").values.shape == (3, 2)


def test_errors_name_the_argument():
    data = [classification(6)]
    with pytest.raises(ValueError, match="scales is empty"):
        goldilocks_zone(mlp(), data, [])
    with pytest.raises(ValueError, match="scales must be positive"):
        goldilocks_zone(mlp(), data, [1.0, 0.0])
    other = mlp(seed=1)
    with pytest.raises(ValueError, match="must use its own argument"):  # no scale would move it
        goldilocks_zone(
            mlp(), data, [1.0], loss_fn=lambda _, batch: other(batch[0]).square().mean()
        )
    with pytest.raises(ValueError, match="dimension must be .* at most 57"):
        plane_curvature(mlp(), data, 58)
    with pytest.raises(ValueError, match="planes"):
        plane_curvature(mlp(), data, 2, planes=0)

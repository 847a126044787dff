"""Connectors find the constrained minimum, measure what they say, and change nothing."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import classification, conv_net, cut, mlp
from torch import Tensor, nn

from landscape_fast.large_scale.complexes import centroids, faces_of
from landscape_fast.large_scale.connector import connector
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.results import Connector
from landscape_fast.store import Store

IMAGES = classification(40, (1, 6, 6))
SQUARES = nn.MSELoss()
NEVER = -1.0  # a target that no loss reaches


def bowl(*, seed: int = 0, size: int = 5, rows: int = 20) -> list[tuple[Tensor, Tensor]]:
    """Rows of a linear regression, whose loss is quadratic in the weights."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    return [(x, torch.randn(rows, 1, generator=generator, dtype=torch.float64))]


def at(weights: Tensor) -> nn.Module:
    layer = nn.Linear(len(weights), 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(weights[None])
    return layer


def scattered(count: int, size: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return 3 * torch.randn(count, size, generator=generator, dtype=torch.float64)


def joined(count: int, **options) -> tuple[Connector, Tensor, list[tuple[Tensor, Tensor]]]:
    data, ends = bowl(), scattered(count)
    how = {"criterion": SQUARES, "lr": 0.2, "momentum": 0.5, "target": NEVER, **options}
    return connector([at(end) for end in ends], data, **how), ends, data


def loss_of(weights: Tensor, data: list[tuple[Tensor, Tensor]]) -> Tensor:
    ((x, y),) = data
    return (weights @ x.T - y.T).square().mean(1)


@pytest.mark.parametrize("count", [2, 3])
def test_centres_of_a_quadratic_bowl_are_its_minima_across_the_models(count):
    found, ends, ((x, y),) = joined(count, epochs=120)
    hessian, slope = 2 * x.T @ x / len(x), -2 * (x.T @ y)[:, 0] / len(x)
    for face, centre in zip(found.faces, found.centres, strict=True):
        corners = ends[list(face)]
        middle = corners.mean(0)
        edges = (corners[1:] - corners[0]).T
        across = torch.linalg.svd(edges).U[:, len(face) - 1 :]
        inner = across.T @ hessian @ across
        step = torch.linalg.solve(inner, -across.T @ (hessian @ middle + slope))
        assert torch.allclose(centre, middle + across @ step, atol=1e-5)
    assert found.faces == tuple(faces_of(count))


def test_losses_are_those_of_the_points_they_are_said_to_be_of():
    found, ends, data = joined(3, epochs=3, points=8)
    vertices = torch.cat([ends, found.centres])
    flat = centroids(3) @ ends
    wanted = {
        "model_losses": ends,
        "centre_losses": found.centres,
        "centroid_losses": flat[3:],
        "losses": found.weights @ vertices,
        "straight_losses": found.weights @ flat,
    }
    for name, points in wanted.items():
        assert torch.allclose(getattr(found, name), loss_of(points, data)), name
    assert found.errors.isnan().all()  # targets are no classes
    highest = torch.cat([found.losses, found.centre_losses]).max()
    assert found.barrier == pytest.approx(float(highest - found.model_losses.mean()))
    assert torch.allclose(found.moved, (found.centres - flat[3:]).norm(dim=1))
    sides = ends - found.centres[-1]
    assert torch.allclose(found.distances, sides.norm(dim=1))
    assert torch.allclose(
        found.cosines, nn.functional.cosine_similarity(sides[:, None], sides[None], dim=-1)
    )


def test_a_descent_stops_at_its_target():
    ends = torch.tensor([[2.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    data = [(torch.eye(2).double(), torch.tensor([[0.0], [6.0]]).double())]
    models = [at(end) for end in ends]  # losses 20, and 18 in the middle: no step is needed
    found = connector(models, data, criterion=SQUARES)
    assert (found.steps, found.reached, found.target) == ((0,), (True,), 20.0)
    slow = connector(models, data, criterion=SQUARES, target=1.0, lr=0.1, epochs=100)
    assert slow.reached == (True,)
    assert 0 < slow.steps[0] < 100
    assert float(slow.centre_losses[0]) <= 1.0
    assert connector(models, data, criterion=SQUARES, target=1.0, epochs=1).reached == (False,)


def test_more_weight_decay_draws_centres_to_the_origin():
    near, far = (joined(2, epochs=60, weight_decay=w)[0].centres.norm() for w in (5.0, 0.0))
    assert float(near) < float(far)


def test_the_models_own_losses_have_statistics_measured_anew():
    models = [conv_net(seed=seed) for seed in (0, 1)]
    found = connector(models, cut(IMAGES, [15, 25]), epochs=0, points=1, batch_size=16)
    line = linear_barrier(*models, cut(IMAGES, [15, 25]), points=3, batch_size=16)
    assert torch.allclose(found.model_losses, line.losses[[0, 2]], rtol=1e-6)
    assert torch.allclose(found.centroid_losses, line.losses[[1]], rtol=1e-6)
    assert torch.equal(found.centroid_errors, line.errors[[1]])
    assert found.samples == 40


def test_equal_seeds_give_equal_connectors():
    models = [mlp(seed=seed) for seed in range(3)]
    one, other = (
        connector(models, [classification(20)], epochs=2, batch_size=5, points=4) for _ in range(2)
    )
    assert torch.equal(one.centres, other.centres)
    assert torch.equal(one.losses, other.losses)


def test_a_descent_that_diverges_ends_in_nan():
    found, _, _ = joined(2, epochs=300, lr=1e4)
    assert math.isnan(found.barrier)
    assert found.steps[0] < 300
    assert found.reached == (False,)


def test_what_does_not_fit_is_named():
    data = [classification(8)]
    with pytest.raises(TypeError, match="models must be a sequence of modules, got one"):
        connector(mlp(), data)
    with pytest.raises(ValueError, match="models must hold at least 2 modules, got 1"):
        connector([mlp()], data)
    with pytest.raises(ValueError, match="2 models span fewer than 1 dimensions"):
        connector([mlp(), mlp()], data)
    with pytest.raises(ValueError, match=r"models\[2\] \(model_b\).* shape"):
        connector([mlp(), mlp(seed=1), nn.Sequential(nn.Linear(5, 2), *mlp()[1:])], data)
    with pytest.raises(ValueError, match="epochs must be a whole number"):
        connector([mlp(), mlp(seed=1)], data, epochs=-1)
    with pytest.raises(ValueError, match="lr must be positive"):
        connector([mlp(), mlp(seed=1)], data, lr=0.0)


@pytest.mark.parametrize("count", [2, 3])
def test_a_connector_is_drawn_beside_the_flat_simplex(count, tmp_path):
    found, _, _ = joined(count, epochs=2, points=12)
    figure = found.plot()
    figure.savefig(tmp_path / "connector.png")
    if count == 3:
        assert "Through optimised centres" in figure.axes[1].get_title()
    else:
        assert len(figure.axes[0].lines) == 3


def test_more_than_three_models_have_no_flat_picture():
    with pytest.raises(ValueError, match="4 models"):
        joined(4, epochs=0, points=1)[0].plot()


def test_a_connector_comes_back_from_the_store(tmp_path):
    found, _, _ = joined(3, epochs=1, points=3)
    store = Store(tmp_path)
    store.save("cell", "connector", found)
    again = store.load("cell", "connector")
    assert again.faces == found.faces
    assert torch.equal(again.centres, found.centres)
    assert again.barrier == found.barrier

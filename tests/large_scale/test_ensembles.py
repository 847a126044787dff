"""Members of an ensemble: distances, cosines, barriers and gains are those of their definitions."""

from __future__ import annotations

import pytest
import torch
from oracles import classification, conv_net, cut, mlp
from torch import nn

from landscape_fast import agreement, ensemble_quality, interpolated, l2_distance, quality
from landscape_fast.large_scale.ensembles import averaged, ensemble_geometry
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.store import Store

IMAGES = classification(40, (1, 6, 6))
TEST = classification(24, (1, 6, 6), seed=5)


def scores(first: float, second: float) -> nn.Module:
    layer = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[first], [second]]))
    return layer


def test_displacements_have_the_lengths_and_cosines_of_a_walk():
    walk = [scores(0.0, 0.0), scores(3.0, 0.0), scores(3.0, 4.0), scores(3.0, 2.0)]
    data = [(torch.tensor([[1.0], [2.0]]).double(), torch.tensor([0, 1]))]
    found = ensemble_geometry(walk, data, points=3)
    assert found.travelled.tolist() == [3.0, 4.0, 2.0]
    wanted = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.0, -1.0, 1.0]])
    assert torch.allclose(found.step_cosines, wanted.double(), atol=1e-12)
    assert found.successive_cosine == pytest.approx(-0.5)
    assert found.distances[0].tolist() == pytest.approx([0.0, 3.0, 5.0, 13**0.5])


def test_every_number_is_that_of_its_own_measure():
    models = [conv_net(seed=seed) for seed in range(3)]
    data = cut(IMAGES, [15, 25])
    found = ensemble_geometry(models, data, held_out=[TEST], points=5, batch_size=16)
    line = linear_barrier(models[1], models[0], data, points=5, batch_size=16)
    assert float(found.barriers[0, 1]) == float(found.barriers[1, 0]) == line.loss_value
    assert float(found.error_barriers[1, 0]) == line.value
    other = agreement(models[2], models[0], [TEST])
    assert float(found.disagreement[0, 2]) == other.disagreement
    assert float(found.distances[1, 2]) == pytest.approx(l2_distance(models[1], models[2]))
    own = [quality(model, [TEST]) for model in models]
    assert found.losses.tolist() == pytest.approx([each.loss for each in own])
    together = ensemble_quality(models, [TEST])
    assert found.ensemble_gain == pytest.approx(
        together.accuracy - sum(each.accuracy for each in own) / 3
    )
    mean = quality(averaged(models, data, batch_size=16), [TEST])
    assert found.average_loss == pytest.approx(mean.loss)
    assert found.average_gain == pytest.approx(mean.accuracy - float(found.accuracies.mean()))
    assert found.samples == 24


def test_the_average_of_two_is_the_network_halfway_with_repaired_statistics():
    one, other = conv_net(seed=0), conv_net(seed=1)
    found = averaged([one, other], [IMAGES], batch_size=40)
    wanted = interpolated(one, other, [IMAGES])
    assert torch.allclose(found(TEST[0]), wanted(TEST[0]), atol=1e-5)
    assert not found.training
    assert all(parameter.grad is None for parameter in found.parameters())


def test_one_model_is_its_own_average():
    model = mlp()
    x, _ = batch = classification(6)
    assert torch.equal(averaged([model, model], [batch])(x), model(x))


def test_a_geometry_comes_back_from_the_store(tmp_path):
    found = ensemble_geometry([mlp(), mlp(seed=1)], [classification(12)], points=3)
    store = Store(tmp_path)
    store.save("cell", "ensemble", found)
    assert torch.equal(store.load("cell", "ensemble").barriers, found.barriers)

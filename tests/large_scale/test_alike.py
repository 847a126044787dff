"""Whatever is measured of several models leaves them as they were, and measures them alone."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, mlp, snapshot
from torch import nn

from landscape_fast.large_scale.connector import connector
from landscape_fast.large_scale.ensembles import ensemble_geometry
from landscape_fast.large_scale.simplexes import low_loss_simplex

IMAGES = classification(40, (1, 6, 6))
WRONG = torch.ones(3, 5), torch.zeros(3).long()  # no images
MEASURES = {
    "connector": lambda models, data: connector(models, data, epochs=1, points=2, target=-1.0),
    "simplex": lambda models, data: low_loss_simplex(models, data, epochs=1, points=2),
    "ensemble": lambda models, data: ensemble_geometry(models, data, points=3),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_models_come_back_as_they_went_in(measure, fails):
    models = [conv_net(seed=seed).train(seed == 0) for seed in range(3)]
    before = [snapshot(model) for model in models]
    with pytest.raises(RuntimeError) if fails else nullcontext():
        measure(models, [IMAGES, WRONG] if fails else [IMAGES])
    for model, state in zip(models, before, strict=True):
        assert_same_state(model, state)


def test_a_loss_of_another_network_is_refused():
    """It would be the same at every point."""
    other = mlp(seed=2)

    def loss(_, batch):
        return nn.functional.cross_entropy(other(batch[0]), batch[1])

    with pytest.raises(ValueError, match="must use its own argument"):
        connector([mlp(), mlp(seed=1)], [classification(8)], loss_fn=loss, epochs=0, points=1)

"""Measures of pairs on a trained network and real images."""

from __future__ import annotations

import copy

import pytest
import torch
from linearise.samplewise.test_resnet20 import trained  # noqa: F401

from landscape_fast import agreement, ensemble_quality, linear_barrier, quality


def permuted(model):
    """The same function with the inner channels of every block in another order."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for stage in (other.layer1, other.layer2, other.layer3):
        for block in stage:
            order = torch.randperm(block.conv1.out_channels, generator=generator)
            block.conv1.weight.data = block.conv1.weight.data[order]
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(block.bn1, name).data = getattr(block.bn1, name).data[order]
            block.conv2.weight.data = block.conv2.weight.data[:, order]
    return other


@pytest.mark.slow
@pytest.mark.data
def test_permuted_channels_compute_the_same_and_lie_behind_a_barrier(trained):  # noqa: F811
    model, loader = trained
    other = permuted(model)
    same = agreement(model, other, loader)
    assert same.disagreement == 0.0
    assert same.js_divergence < 1e-9
    alone = quality(model, loader)
    assert ensemble_quality([model, other], loader).loss == pytest.approx(alone.loss, rel=1e-4)
    raw = linear_barrier(model, other, loader, points=5, recalibrate=False)
    new = linear_barrier(model, other, loader, points=5)
    assert raw.errors[[0, 4]].tolist() == pytest.approx([100 - alone.accuracy] * 2)
    assert raw.value > 50.0
    assert raw.t_star == new.t_star == 0.5
    # Statistics measured anew repair a part of it (Jordan et al. 2022, arXiv:2211.08403).
    assert 5.0 < new.value < raw.value - 10.0

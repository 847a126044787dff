"""Repaired averages have the statistics they promise."""

from __future__ import annotations

import pytest
import torch
from alignment.hidden import network
from torch import nn

from landscape_fast.alignment.repair import interpolated


def plain(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def statistics(model, layer, x):
    out = model[: layer + 1](x).detach()
    out = out if out.dim() == 2 else out.movedim(1, -1).flatten(0, 2)
    return out.mean(0), out.std(0, unbiased=False)


def test_hidden_units_get_statistics_between_those_of_the_ends():
    one, other = plain(0), plain(1)
    x = torch.randn(64, 1, 6, 6)
    found = interpolated(one, other, [(x,)], t=0.25)
    for layer in (0, 3):
        ends = [statistics(model, layer, x) for model in (one, other)]
        for mine, a, b in zip(statistics(found, layer, x), *ends, strict=True):
            torch.testing.assert_close(mine, torch.lerp(a, b, 0.25), atol=1e-3, rtol=1e-3)


def test_the_last_layer_is_the_plain_average():
    one, other = plain(0), plain(1)
    found = interpolated(one, other, [(torch.randn(64, 1, 6, 6),)])
    torch.testing.assert_close(found[5].weight, (one[5].weight + other[5].weight) / 2)


def test_running_statistics_are_measured_anew():
    (one, inputs), (other, _) = network("vgg"), network("vgg", seed=3)
    found = interpolated(one, other, [(inputs,)])
    before = found[:4](inputs).detach().movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(found[4].running_mean, before.mean(0), atol=1e-5, rtol=1e-5)


def test_the_ends_are_the_models_themselves():
    one, other = plain(0), plain(1)
    x = torch.randn(64, 1, 6, 6)
    for t, end in ((0.0, one), (1.0, other)):
        torch.testing.assert_close(
            interpolated(one, other, [(x,)], t=t)(x), end(x), atol=1e-4, rtol=1e-4
        )


def test_a_layer_that_cannot_be_shifted_is_named():
    one = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="layer '0' has no bias"):
        interpolated(one, one, [(torch.randn(8, 3),)])
    with pytest.raises(ValueError, match="t must be finite"):
        interpolated(one, one, [(torch.randn(8, 3),)], t=float("nan"))

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same_state, conv_net, mlp, snapshot
from torch import nn

from landscape_fast.metrics.distance import l2_distance


def vector(model):
    return torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])


@settings(max_examples=20)
@given(st.integers(0, 100), st.integers(0, 100))
def test_distance_is_the_norm_of_the_difference(seed_a, seed_b):
    one, other = mlp(seed=seed_a), mlp(seed=seed_b)
    wanted = float((vector(one) - vector(other)).norm())
    assert l2_distance(one, other) == pytest.approx(wanted, rel=1e-13)
    assert l2_distance(one, other) == l2_distance(other, one)
    assert (l2_distance(one, other) == 0.0) == (seed_a == seed_b)


def test_sums_are_float64():
    one, other = nn.Linear(1000, 1000, bias=False), nn.Linear(1000, 1000, bias=False)
    nn.init.constant_(one.weight, 1.0)
    nn.init.constant_(other.weight, 1.0 + 3 * 2.0**-23)
    assert l2_distance(one, other) == pytest.approx(3000 * 2.0**-23, rel=1e-14)
    nn.init.constant_(other.weight, 1e30)  # its square is beyond float32
    assert l2_distance(one, other) == pytest.approx(1e33, rel=1e-6)


def test_buffers_and_frozen_parameters_do_not_count_and_tied_ones_count_once():
    one, other = conv_net(), conv_net()
    other[1].running_mean.add_(1.0)
    assert l2_distance(one, other) == 0.0
    for model in (one, other):
        model[0].weight.requires_grad_(False)
    other[0].weight.data.add_(1.0)
    assert l2_distance(one, other) == 0.0

    def tied(value):
        model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        model[1].weight = model[0].weight
        nn.init.constant_(model[0].weight, value)
        return model

    assert l2_distance(tied(0.0), tied(2.0)) == 8.0


def test_params_restricts_the_distance():
    one, other = mlp(seed=0), mlp(seed=1)
    first, second = (l2_distance(one, other, params=name) for name in ("0", ["2.weight", "2.bias"]))
    assert math.hypot(first, second) == pytest.approx(l2_distance(one, other), rel=1e-13)
    assert first > 0
    assert second > 0


def test_models_are_untouched():
    one, other = mlp(seed=0), mlp(seed=1)
    one[0].weight.grad = torch.ones_like(one[0].weight)
    before = snapshot(one), snapshot(other)
    l2_distance(one, other)
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)),
            r"'2.weight' has shape \(3, 6",
        ),
        (
            nn.Sequential(nn.Linear(5, 6), nn.Tanh()),
            "model_a has the .* '2.weight', model_b has not",
        ),
        (
            nn.Sequential(*mlp(), nn.Linear(3, 3)),
            "model_b has the .* '3.weight', model_a has not",
        ),
        (mlp().to("meta"), "model_a is on cpu and model_b on meta"),
    ],
)
def test_models_that_do_not_match_are_named(other, message):
    with pytest.raises(ValueError, match=message):
        l2_distance(mlp(), other)


def test_a_parameter_frozen_in_one_model_only_is_named():
    other = mlp()
    other[2].bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"model_a has the trainable parameter '2.bias'"):
        l2_distance(mlp(), other)

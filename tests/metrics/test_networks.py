from __future__ import annotations

import pytest
import torch
from oracles import conv_net, mlp
from torch import nn

from landscape_fast.metrics.networks import device_of, require_same_rest


def test_device_is_read_from_parameters_else_buffers_else_the_cpu():
    assert device_of(mlp().to("meta")).type == "meta"
    assert device_of(nn.BatchNorm1d(3, affine=False, device="meta")).type == "meta"
    assert device_of(nn.Identity()).type == "cpu"


def test_trainable_parameters_and_batch_statistics_may_differ():
    one, other = conv_net(seed=0), conv_net(seed=1)
    assert not torch.equal(one[1].running_var, other[1].running_var)
    require_same_rest(one, other)


def test_another_layer_under_the_same_name_is_named():
    with pytest.raises(ValueError, match=r"layer '1' \(Tanh\) where model_b has .* '1' \(ReLU\)"):
        require_same_rest(mlp(), mlp(activation=nn.ReLU))


def test_a_layer_without_parameters_that_one_model_ends_with_is_named():
    longer = mlp().append(nn.Softmax(1))
    with pytest.raises(ValueError, match=r"no further layer where model_b has .* \(Softmax\)"):
        require_same_rest(mlp(), longer)
    with pytest.raises(ValueError, match=r"\(Softmax\) where model_b has no further layer"):
        require_same_rest(longer, mlp())


def test_layers_made_otherwise_are_named():
    one, other = (nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(slope)) for slope in (0.1, 0.9))
    with pytest.raises(ValueError, match=r"'1' has negative_slope=0.1 in model_a and .*=0.9"):
        require_same_rest(one, other)


def test_what_does_nothing_in_evaluation_may_differ():
    one = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Dropout(0.1))
    other = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Dropout(0.5)).eval()
    require_same_rest(one, other)


def test_a_frozen_parameter_that_differs_is_named():
    one, other = mlp(seed=0), mlp(seed=1)
    for model in (one, other):
        model[2].bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"'2.bias' is neither"):
        require_same_rest(one, other)
    other[2].bias.data.copy_(one[2].bias)
    require_same_rest(one, other)


@pytest.mark.parametrize("first", ["model_a", "model_b"])
def test_a_buffer_that_differs_or_is_missing_is_named(first):
    one, other = mlp(), mlp()
    owner = one if first == "model_a" else other
    owner[0].register_buffer("mask", torch.ones(6))
    with pytest.raises(ValueError, match=r"'0.mask' is neither"):
        require_same_rest(one, other)
    (other if owner is one else one)[0].register_buffer("mask", torch.ones(6))
    require_same_rest(one, other)
    owner[0].mask[2] = 0.0
    with pytest.raises(ValueError, match=r"'0.mask' is neither"):
        require_same_rest(one, other)

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from oracles import assert_same_state, classification, conv_net, mlp, snapshot
from torch import nn

from landscape_fast import HessianOperator, quality
from landscape_fast.linearise.state import evaluation, untouched, unwrap


def disturb(model):
    model.train()
    model(torch.randn(4, 1, 6, 6)).sum().backward()
    model[0].weight.requires_grad_(False)
    model[1].running_var = torch.ones(3)
    random.random()
    np.random.rand()


@pytest.mark.parametrize("interruption", [None, ValueError, KeyboardInterrupt])
def test_everything_comes_back_also_after_an_exception(interruption):
    model = conv_net()
    model[4].eval()
    model[8].bias.grad = torch.ones(3)
    before = snapshot(model), random.getstate(), np.random.get_state()[1].tolist()
    try:
        with untouched(model):
            disturb(model)
            if interruption:
                raise interruption
    except (ValueError, KeyboardInterrupt):
        pass
    assert_same_state(model, before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_evaluation_gives_gradients_inside_no_grad_and_inference_mode():
    model = conv_net()
    for outer in (torch.no_grad, torch.inference_mode):
        with outer(), evaluation(model):
            assert not model.training
            value = model(torch.zeros(1, 1, 6, 6)).sum()
            assert value.requires_grad
    assert model.training


def test_autocast_of_the_surroundings_reaches_no_measurement():
    model, data = mlp(), [classification(20)]
    vector = torch.ones(1, 57)
    wanted = quality(model, data).loss, HessianOperator(model, data)(vector)
    with torch.autocast("cpu", torch.bfloat16):
        assert quality(model, data).loss == wanted[0]
        assert torch.equal(HessianOperator(model, data)(vector), wanted[1])
        assert torch.is_autocast_enabled("cpu")


def test_wrappers_are_taken_off():
    model = conv_net()
    assert unwrap(nn.DataParallel(model)) is model
    assert unwrap(torch.compile(model)) is model
    assert unwrap(torch.compile(nn.DataParallel(model))) is model


def test_a_model_that_is_no_module_is_named():
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got function"):
        unwrap(lambda x: x)

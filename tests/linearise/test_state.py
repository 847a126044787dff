from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import (
    assert_same_state,
    classification,
    conv_net,
    dense_hessian,
    mlp,
    snapshot,
)
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


def test_hooks_on_gradients_of_parameters_do_not_change_the_hessian_and_stay():
    x, y = classification(12)
    model = mlp()
    exact = HessianOperator(model, [(x, y)])(
        torch.ones(1, sum(p.numel() for p in model.parameters()))
    )
    weight = next(model.parameters())
    handle = weight.register_hook(lambda gradient: 0 * gradient)
    for engine in ("captured", "autograd"):
        found = HessianOperator(model, [(x, y)], engine=engine)(torch.ones(1, exact.shape[1]))
        torch.testing.assert_close(found, exact)
    F.cross_entropy(model(x), y).backward()
    assert not weight.grad.any(), "the hook is gone"
    handle.remove()
    weight.grad = None
    F.cross_entropy(model(x), y).backward()
    assert weight.grad.any(), "the hook cannot be removed any more"


def test_a_model_with_a_sparse_buffer_is_measured_and_keeps_it():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(4, 3)
            self.register_buffer("edges", (torch.rand(6, 6) > 0.5).float().to_sparse())

        def forward(self, x):
            return torch.sparse.mm(self.edges, self.linear(x))

    x, y = classification(6, (4,))
    model, x = Graph().double(), x.double()
    edges = model.edges
    exact = dense_hessian(model, lambda m: F.cross_entropy(m(x), y))
    found = HessianOperator(model, [(x, y)])(torch.eye(15, dtype=torch.float64))
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
    assert model.edges is edges


@pytest.mark.parametrize("option", [{"max_norm": 0.5}, {"scale_grad_by_freq": True}])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_an_embedding_that_rewrites_its_weight_or_gradient_is_refused_untouched(kind, option):
    table = kind(9, 4, **option)
    model = nn.Sequential(table, nn.Flatten(), nn.LazyLinear(3))
    x, y = torch.randint(9, (6, 3)), torch.randint(3, (6,))
    model(x)
    weight = table.weight.detach().clone()
    with pytest.raises(ValueError, match=f"embedding '0' has {next(iter(option))}"):
        HessianOperator(model, [(x, y)])
    assert torch.equal(table.weight, weight)

"""Layers whose weight is made anew in every call: weight and spectral normalisation."""

from __future__ import annotations

import warnings

import pytest
import torch
from oracles import assert_same_state, classification, cut, difference_hessian, snapshot
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from landscape_fast import GGNOperator, HessianOperator, average_sharpness, ggn_spectrum, trace
from landscape_fast.functional import copied

WRAPPERS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old weight_norm": nn.utils.weight_norm,
    "old spectral_norm": nn.utils.spectral_norm,
}
DATA = tuple(part.double() if part.is_floating_point() else part for part in classification(9))


def network(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = nn.Sequential(WRAPPERS[name](nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 3))
    model = model.double().eval()
    model(DATA[0]).sum().backward()  # a layer may hold a weight with a graph from now on
    model.zero_grad()
    return model


def held(model):
    """The tensors that layers hold besides parameters and buffers, by identity."""
    return [
        (name, id(value))
        for layer in model.modules()
        for name, value in vars(layer).items()
        if isinstance(value, torch.Tensor)
    ]


@pytest.mark.parametrize("name", WRAPPERS)
def test_products_are_those_of_the_dense_matrices(name):
    model, data = network(name), cut(DATA, [4, 5])
    hessian = difference_hessian(copied(model), lambda m: cross_entropy(m(DATA[0]), DATA[1]))
    eye = torch.eye(len(hessian)).double()
    assert torch.allclose(HessianOperator(model, data)(eye), hessian, atol=1e-7)
    matrix = GGNOperator(model, data)(eye)
    found = ggn_spectrum(model, data)
    exact = torch.linalg.eigvalsh(matrix).flip(0)
    assert torch.allclose(found.values[:8], exact[:8], atol=1e-8)
    assert trace(model, data, rtol=0).value == pytest.approx(float(hessian.trace()), rel=1e-2)


@pytest.mark.parametrize("name", WRAPPERS)
def test_layers_keep_the_tensors_that_they_hold(name):
    model, data = network(name), cut(DATA, [4, 5])
    before, tensors = snapshot(model), held(model)
    op = HessianOperator(model, data)
    op(torch.ones(1, op.shape[0]))
    assert average_sharpness(model, data, draws=2).value != 0.0
    assert_same_state(model, before)
    assert held(model) == tensors

"""Batch normalisation by each batch's own statistics."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_relative, assert_same_state, classification, conv_net, cut, snapshot
from torch import nn

from landscape_fast.linearise import cuts
from landscape_fast.linearise.fisher import EmpiricalFisherOperator
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.operators import HessianOperator


def dense_net():
    """Normalisation of features without scale and shift, behind and before curved layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(4, affine=False), nn.Tanh(), nn.Dropout(), nn.Linear(4, 3)
    )


NETS = {"convolutions": (conv_net, (1, 6, 6)), "features": (dense_net, (5,))}


def training_mode(model):
    """A copy in float64, training but for dropout."""
    model = copy.deepcopy(model).double().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return model


def dense(model, batches):
    """Hessian by double backward, and J^T A J, of the mean over all rows."""
    model = training_mode(model)
    parameters = list(model.parameters())

    def flat(parts):
        return torch.cat([part.reshape(-1) for part in parts])

    def rows_of(vector, inputs):
        return torch.stack(
            [
                flat(torch.autograd.grad(e, inputs, retain_graph=True, materialize_grads=True))
                for e in vector.reshape(-1)
            ]
        )

    total = sum(len(y) for _, y in batches)
    hessian, ggn = 0, 0
    for x, y in batches:
        z = model(x)
        loss = F.cross_entropy(z, y, reduction="sum") / total
        gradient = torch.autograd.grad(loss, parameters, create_graph=True)
        hessian = hessian + rows_of(flat(gradient), parameters)
        (slope,) = torch.autograd.grad(loss, z, create_graph=True)
        j = rows_of(z, parameters)
        ggn = ggn + j.T @ rows_of(slope, z) @ j
    return hessian, ggn


@pytest.mark.parametrize("engine", ["captured", "autograd"])
@pytest.mark.parametrize("name", NETS)
def test_products_and_forms_are_those_of_the_model_in_training(name, engine, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 1)
    make, shape = NETS[name]
    x, y = classification(24, shape)
    batches = cut((x.double(), y), [14, 10])
    for kind, exact in zip((HessianOperator, GGNOperator), dense(make(), batches), strict=True):
        op = kind(make().double(), batches, batchnorm="train", engine=engine)
        assert op.slow_operations == ()
        if engine == "captured":
            assert not op._engine._separable
        assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-11)
        v = torch.randn(3, op.shape[0], dtype=torch.float64)
        assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), 1e-11)


def test_the_loss_is_that_of_the_batches_as_the_loader_cut_them():
    x, y = classification(14, (1, 6, 6))
    losses = {}
    for sizes in ([14], [10, 4]):
        batches = cut((x.double(), y), sizes)
        model = training_mode(conv_net())
        losses[len(sizes)] = (
            sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches) / 14
        )
        op = HessianOperator(conv_net().double(), batches, batchnorm="train")
        assert op.loss == pytest.approx(losses[len(sizes)], rel=1e-12)
    assert abs(losses[1] - losses[2]) > 1e-3


@pytest.mark.parametrize("kind", [HessianOperator, GGNOperator, EmpiricalFisherOperator])
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_neither_move_nor_count(kind, training):
    data = cut(classification(14, (1, 6, 6)), [10, 4])
    model = conv_net().train(training)
    before = snapshot(model)
    op = kind(model, data, batchnorm="train")
    v = torch.ones(2, op.shape[0])
    products = op(v)
    assert_same_state(model, before)
    model[1].running_mean.add_(3.0)
    assert torch.equal(op(v), products)


def test_batches_that_are_read_anew_are_refused():
    data = cut(classification(14, (1, 6, 6)), [10, 4])
    with pytest.raises(ValueError, match="batchnorm='train' needs the same batches"):
        HessianOperator(conv_net(), data, batchnorm="train", memory_budget=0)


def test_another_mode_is_named():
    with pytest.raises(ValueError, match="batchnorm must be 'eval' or 'train', got 'batch'"):
        HessianOperator(conv_net(), [classification(4, (1, 6, 6))], batchnorm="batch")

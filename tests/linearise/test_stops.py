"""What a loss stops is a constant of its captured program, and nothing else is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import mlp
from torch import nn

from landscape_fast import GGNOperator, HessianOperator

pytestmark = pytest.mark.filterwarnings("ignore:the second derivative is:UserWarning")

ROWS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def detached(model, batch):
    """Both sides of a contrastive loss, each with the other held fixed."""
    one, other = model(batch[0]), model(-batch[0])
    halves = [(one, other.detach()), (other, torch.detach(one))]
    return -sum(F.cosine_similarity(*half, dim=-1).mean() for half in halves)


def data(model, batch):
    out = model(batch[0])
    return (out * out.data.tanh()).square().mean()


def without_gradients(model, batch):
    with torch.no_grad():
        target = model(-batch[0]).softmax(-1)
    return F.cross_entropy(model(batch[0]), target)


@torch.no_grad()
def teacher(model, x):
    return model(x).softmax(-1)


def decorated(model, batch):
    return F.cross_entropy(model(batch[0]), teacher(model, -batch[0]))


def quantised(model, batch):
    """The straight-through estimator of a codebook."""
    codes = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    out = model(batch[0])
    near = codes[torch.cdist(out.detach(), codes).argmin(1)]
    through = out + (near - out).detach()
    return through.square().mean() + 0.25 * (out - near).square().mean()


def gradients_on_again(model, batch):
    with torch.no_grad():
        scale = model(-batch[0]).square().mean()
        with torch.enable_grad():
            out = model(batch[0])
    return (out * scale).square().mean()


STOPPING = (detached, data, without_gradients, decorated, quantised, gradients_on_again)


def slope_of(model, batch):
    x = batch[0].clone().requires_grad_()
    out = model(x)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return x, out, slope


def penalty(model, batch):
    """Of a critic's gradient."""
    return (slope_of(model, batch)[2].norm(dim=1) - 1).square().mean()


def residual(model, batch):
    """Of a differential equation."""
    x, out, slope = slope_of(model, batch)
    (second,) = torch.autograd.grad(slope[:, 0].sum(), x, create_graph=True)
    return (second[:, 0] + out[:, 0] ** 3).square().mean()


def penalty_with_a_stop(model, batch):
    _, out, slope = slope_of(model, batch)
    return (slope.norm(dim=1) * out.detach().norm(dim=1) - out.sum(1)).square().mean()


INNER = (penalty, residual, penalty_with_a_stop)


@pytest.mark.parametrize("loss_fn", STOPPING + INNER)
def test_products_and_forms_are_those_of_double_backward(loss_fn):
    captured, plain = (
        HessianOperator(mlp(activation=nn.Tanh).double(), [(ROWS,)], loss_fn=loss_fn, engine=engine)
        for engine in ("captured", "autograd")
    )
    v = torch.randn(3, plain.shape[0], dtype=torch.float64)
    torch.testing.assert_close(captured(v), plain(v), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(captured.quadratic(v), plain.quadratic(v), rtol=1e-10, atol=1e-12)
    assert captured.loss == pytest.approx(plain.loss, rel=1e-12)


@pytest.mark.parametrize("loss_fn", [without_gradients, decorated])
def test_gauss_newton_products_take_targets_for_fixed(loss_fn):
    model = mlp(activation=nn.Tanh).double()
    targets = teacher(model, -ROWS)
    fixed = GGNOperator(model, [(ROWS, targets)])
    found = GGNOperator(model, [(ROWS,)], loss_fn=loss_fn, engine="captured")
    v = torch.randn(3, fixed.shape[0], dtype=torch.float64)
    torch.testing.assert_close(found(v), fixed(v), rtol=1e-10, atol=1e-12)


class Doubled(torch.autograd.Function):
    """Its forward pass runs without gradients, and what it computes moves all the same."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        half = x.tanh()
        return half * half

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * 2 * x.tanh() * (1 - x.tanh() ** 2)


def test_the_forward_pass_of_a_custom_function_stops_nothing():
    def loss_fn(model, batch):
        return Doubled.apply(model(batch[0])).square().mean()

    captured, plain = (
        HessianOperator(mlp().double(), [(ROWS,)], loss_fn=loss_fn, engine=engine)
        for engine in ("captured", "autograd")
    )
    v = torch.randn(3, plain.shape[0], dtype=torch.float64)
    torch.testing.assert_close(captured(v), plain(v), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(captured.quadratic(v), plain.quadratic(v), rtol=1e-10, atol=1e-12)

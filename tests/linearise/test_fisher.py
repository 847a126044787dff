from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import LADDER
from oracles import assert_relative, assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn

from landscape_fast.linearise import cuts
from landscape_fast.linearise.fisher import EmpiricalFisherOperator
from landscape_fast.linearise.row_losses import RowLosses

WEIGHT = torch.tensor([0.2, 3.0, 1.0], dtype=torch.float64)


def dense_fisher(model, row_losses, normaliser):
    """Sum of outer products (n, n) of the gradients of each row's loss, in float64."""
    model = copy.deepcopy(model).double().eval()
    parameters = list(model.parameters())
    gradients = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters, retain_graph=True)])
        for loss in row_losses(model)
    ]
    g = torch.stack(gradients)
    return g.T @ g / normaliser


def assert_serves(op, exact, bound=1e-11):
    assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, bound)
    v = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), bound)


@pytest.mark.parametrize("name", LADDER)
def test_it_is_the_mean_of_outer_products_of_the_rows_gradients(name, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 100)
    make, shape = LADDER[name]
    x, y = classification(14, shape)
    exact = dense_fisher(make(), lambda m: F.cross_entropy(m(x.double()), y, reduction="none"), 14)
    op = EmpiricalFisherOperator(make().double(), cut((x.double(), y), [10, 4]))
    assert op.slow_operations == ()
    assert_serves(op, exact)
    whole = F.cross_entropy(make().double().eval()(x.double()), y)
    assert op.loss == pytest.approx(whole.item())


CRITERIA = {
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), lambda y: WEIGHT[y].sum()),
    "ignore_index": (nn.CrossEntropyLoss(ignore_index=1), lambda y: (y != 1).sum()),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.2), len),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), lambda y: 1),
    "squared error": (nn.MSELoss(), lambda y: y.numel()),
    "kl": (nn.KLDivLoss(reduction="batchmean"), len),
}


@pytest.mark.parametrize("engine", ["auto", "autograd"])
@pytest.mark.parametrize("name", CRITERIA)
def test_the_loss_sets_the_rows_and_the_normaliser(name, engine):
    criterion, normaliser = CRITERIA[name]
    x, y = classification(11)
    if name in ("squared error", "kl"):
        y = torch.rand(11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    single = copy.copy(criterion)
    single.reduction = "none"
    exact = dense_fisher(
        mlp(), lambda m: single(m(x.double()), y).reshape(11, -1).sum(1), normaliser(y)
    )
    loader = cut((x.double(), y), [4, 4, 3])
    op = EmpiricalFisherOperator(mlp().double(), loader, criterion=criterion, engine=engine)
    assert_serves(op, exact)


@pytest.mark.parametrize("engine", ["captured", "autograd"])
def test_the_tokens_of_a_row_are_summed_before_the_outer_product(engine):
    x = torch.randn(5, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = classification(30)[1].reshape(5, 6)
    y[0, 2:] = -100

    class PerToken(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            return torch.tanh(self.out(x)).transpose(1, 2)

    exact = dense_fisher(
        PerToken(), lambda m: F.cross_entropy(m(x), y, reduction="none").sum(1), 26
    )
    loader = cut((x, y), [3, 2])
    assert_serves(EmpiricalFisherOperator(PerToken().double(), loader, engine=engine), exact)


@pytest.mark.parametrize("engine", ["captured", "autograd"])
@pytest.mark.parametrize("counted", [False, True])
def test_a_loss_function_returns_the_losses_of_the_rows(engine, counted):
    x, y = classification(9)

    def losses(model, batch):
        out = model(batch[0])
        return out.logsumexp(1) - out[:, 0] + 0.1 * out.square().sum(1)

    def loss_fn(model, batch):
        return (losses(model, batch), 2 * len(batch[0])) if counted else losses(model, batch)

    exact = dense_fisher(mlp(), lambda m: losses(m, (x.double(), y)), 18 if counted else 9)
    loader = cut((x.double(), y), [4, 5])
    op = EmpiricalFisherOperator(mlp().double(), loader, loss_fn=loss_fn, engine=engine)
    assert_serves(op, exact)


def test_rows_and_their_sum_share_no_program():
    from landscape_fast.linearise.gauss_newton import GGNOperator

    x, y = classification(6)
    eye = torch.eye(57, dtype=torch.float64)
    fisher, ggn = (
        kind(mlp().double(), [(x.double(), y)], engine="captured")(eye)
        for kind in (EmpiricalFisherOperator, GGNOperator)
    )
    assert torch.linalg.matrix_rank(fisher) == 6
    assert not torch.allclose(fisher, ggn)


def test_nothing_of_the_callers_is_changed():
    model = conv_net().train()
    criterion = nn.CrossEntropyLoss()
    before = snapshot(model)
    data = cut(classification(8, (1, 6, 6)), [5, 3])
    op = EmpiricalFisherOperator(model, data, criterion=criterion)
    op(torch.ones(2, op.shape[0]))
    assert_same_state(model, before)
    assert criterion.reduction == "mean"


def fisher(**options):
    return EmpiricalFisherOperator(mlp(), [classification(4)], **options)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: RowLosses(lambda o, y: o.sum()), "criterion is not a loss of torch"),
        (
            lambda: fisher(loss_fn=lambda m, b: F.cross_entropy(m(b[0]), b[1])),
            r"loss_fn must return the losses of the rows, \(4,\), got \(\)",
        ),
        (
            lambda: fisher(loss_fn=lambda m, b: m(b[0])),
            r"loss_fn must return the losses of the rows, \(4,\), got \(4, 3\)",
        ),
        (lambda: fisher(loss_fn=lambda m, b: 3.0), r"\(4,\), got float"),
    ],
)
def test_a_loss_without_rows_is_named(act, text):
    with pytest.raises(ValueError, match=text):
        act()

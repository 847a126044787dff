from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_relative, assert_same_state, classification, cut, mlp, snapshot
from torch import nn

from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.sampled_targets import SampledTargets

EYE = torch.eye(57, dtype=torch.float64)


def probabilities(rows):
    generator = torch.Generator().manual_seed(1)
    return torch.softmax(torch.randn(rows, 3, generator=generator, dtype=torch.float64), 1)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = mlp()

    def forward(self, x):
        return self.inner(x).transpose(1, 2)


def tokens():
    x, y = classification(12)
    y[5] = -100
    return Tokens(), nn.CrossEntropyLoss(), (x.reshape(4, 3, 5).double(), y.reshape(4, 3))


def rows(criterion, targets, *more):
    def make():
        x, y = classification(6)
        y = y if targets is None else targets(6)
        return nn.Sequential(*mlp(), *more), criterion, (x.double(), y)

    return make


PROBLEMS = {
    "classes": rows(nn.CrossEntropyLoss(), None),
    "ignored, smoothed": rows(nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.2), None),
    "probability targets": rows(nn.CrossEntropyLoss(), probabilities),
    "log-probabilities": rows(nn.NLLLoss(reduction="sum"), None, nn.LogSoftmax(1)),
    "tokens": tokens,
    "squared error": rows(nn.MSELoss(), probabilities),
    "bits of logits": rows(nn.BCEWithLogitsLoss(), probabilities),
    "bits": rows(nn.BCELoss(reduction="sum"), probabilities, nn.Sigmoid()),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_mean_over_seeds_is_the_exact_matrix(name):
    model, criterion, data = PROBLEMS[name]()
    model = model.double()
    v = torch.randn(4, 57, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = GGNOperator(model, [data], criterion=criterion).quadratic(v)
    op = GGNOperator(model, [data], criterion=criterion, monte_carlo=3, engine="autograd")
    draws = []
    for seed in range(150):
        op._sampled._seed = seed  # a new operator with this seed, without its checks
        draws.append(op.quadratic(v))
    draws = torch.stack(draws)
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - exact).abs() < 4 * error).all()
    assert (error < 0.2 * exact).all()


@pytest.mark.parametrize("name", PROBLEMS)
def test_both_engines_give_the_same_matrix_of_few_outer_products(name):
    model, criterion, data = PROBLEMS[name]()
    captured, plain = (
        GGNOperator(
            model.double(), [data], criterion=criterion, monte_carlo=2, seed=5, engine=engine
        )
        for engine in ("captured", "autograd")
    )
    ours = captured(EYE)
    assert captured.slow_operations == ()
    assert_relative(ours, plain(EYE), 1e-9)
    assert_relative(captured.quadratic(EYE), ours.diagonal(), 1e-11)
    assert torch.linalg.eigvalsh(ours)[0] > -1e-12 * ours.abs().max()


def test_it_is_the_mean_of_outer_products_over_the_drawn_targets():
    x, y = classification(6)
    model = mlp().double()
    sampled = SampledTargets(None, None, 2, 5)
    _, drawn = sampled.draw(model, (x.double(), y), 0)
    losses = [F.cross_entropy(model(x.double()), one, reduction="none") for one in drawn.T]
    rows = []
    for loss in torch.cat(losses):
        gradient = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        rows.append(torch.cat([part.reshape(-1) for part in gradient]))
    g = torch.stack(rows)
    op = GGNOperator(model, [(x.double(), y)], monte_carlo=2, seed=5)
    assert_relative(op(EYE), g.T @ g / 12, 1e-12)


def test_draws_do_not_depend_on_the_cut_and_differ_between_seeds():
    x, y = classification(9)
    data = x.double(), y
    ops = [
        GGNOperator(mlp().double(), cut(data, sizes), monte_carlo=2, seed=seed)
        for sizes, seed in (([9], 0), ([4, 4, 1], 0), ([9], 1))
    ]
    first, pieces, other = (op(EYE) for op in ops)
    assert_relative(pieces, first, 1e-12)
    assert not torch.allclose(other, first)
    assert torch.equal(ops[1](EYE), pieces)


def test_targets_follow_the_parameters():
    model = mlp().double()
    x, y = classification(9)
    op = GGNOperator(model, [(x.double(), y)], monte_carlo=1)
    op(EYE)
    with torch.no_grad():
        model[2].bias.add_(torch.tensor([5.0, 0.0, 0.0]))
    assert_relative(op(EYE), GGNOperator(model, [(x.double(), y)], monte_carlo=1)(EYE), 1e-12)


def test_the_callers_random_numbers_are_not_used():
    model = mlp().train()
    before = snapshot(model)
    op = GGNOperator(model, [classification(6)], monte_carlo=2)
    op(torch.ones(1, 57))
    assert_same_state(model, before)
    assert op.loss == pytest.approx(GGNOperator(mlp(), [classification(6)]).loss)


def ggn(data=None, **options):
    return GGNOperator(mlp(), [data or classification(4)], **{"monte_carlo": 1, **options})


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: ggn(monte_carlo=0), "monte_carlo must be a whole number of at least 1, got 0"),
        (lambda: ggn(seed=-1), "seed must be a whole number of at least 0 .* got -1"),
        (lambda: ggn(loss_fn=lambda m, b: m(b[0]).sum()), "which a loss_fn does not state"),
        (lambda: ggn(criterion=nn.HuberLoss()), "HuberLoss is none that is known"),
        (lambda: ggn(criterion=lambda o, y: o.sum()), "function is none that is known"),
        (
            lambda: ggn(criterion=nn.CrossEntropyLoss(weight=torch.ones(3))),
            "needs a likelihood: criterion has weight",
        ),
        (
            lambda: ggn(criterion=nn.BCEWithLogitsLoss(pos_weight=torch.ones(3))),
            "needs a likelihood: criterion has pos_weight",
        ),
        (
            lambda: ggn((torch.ones(4, 5), torch.ones(4, 3))),
            "target probabilities that sum to one",
        ),
        (lambda: ggn(memory_budget=0), "monte_carlo needs the same batches on every pass"),
        (
            lambda: ggn((torch.ones(4, 5), torch.ones(4, 1)), criterion=nn.MSELoss()),
            r"targets like the outputs, \(4, 3\), got \(4, 1\)",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_what_cannot_be_drawn_is_named(act, text):
    with pytest.raises(ValueError, match=text):
        act()

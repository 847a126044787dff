from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from networks import LADDER, layer_norm_net
from oracles import (
    assert_as_accurate,
    assert_relative,
    assert_same_state,
    classification,
    conv_net,
    cut,
    dense_gauss_newton,
    dense_hessian,
    mlp,
    snapshot,
)
from torch import nn

from landscape_fast.linearise import cuts
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.second_derivative import twice_differentiable

WEIGHT = torch.tensor([0.2, 3.0, 1.0], dtype=torch.float64)


def matrix(op):
    return op(torch.eye(op.shape[0], dtype=torch.float64))


def assert_serves(op, exact, bound=1e-12):
    """Products, forms and symmetry against the dense matrix."""
    ours = matrix(op)
    assert_relative(ours, exact, bound)
    assert_relative(ours, ours.T, bound)
    v = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), bound)


@pytest.mark.parametrize("engine", ["captured", "autograd"])
@pytest.mark.parametrize("name", LADDER)
def test_products_and_forms_equal_the_dense_matrix_on_a_ragged_loader(name, engine, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 100)
    make, shape = LADDER[name]
    x, y = classification(14, shape)
    with twice_differentiable(make()):
        exact = dense_gauss_newton(make(), lambda m: m(x.double()), lambda z: F.cross_entropy(z, y))
    engine = "auto" if name == "recurrent" else engine
    op = GGNOperator(make().double(), cut((x.double(), y), [10, 4]), engine=engine)
    assert op.slow_operations == ()
    assert_serves(op, exact, 1e-11)
    assert torch.linalg.eigvalsh(exact)[0] > -1e-12 * exact.abs().max()


def probabilities(rows):
    generator = torch.Generator().manual_seed(1)
    return torch.softmax(torch.randn(rows, 3, generator=generator, dtype=torch.float64), 1)


CRITERIA = {
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), "index"),
    "ignore_index": (nn.CrossEntropyLoss(ignore_index=1), "index"),
    "all": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1, label_smoothing=0.1), "index"),
    "probability targets": (nn.CrossEntropyLoss(weight=WEIGHT), "probability"),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), "index"),
    "squared error": (nn.MSELoss(), "probability"),
    "huber": (nn.HuberLoss(delta=0.7), "probability"),
    "logits": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), "probability"),
}


@pytest.mark.parametrize("engine", ["auto", "autograd"])
@pytest.mark.parametrize("name", CRITERIA)
def test_the_loss_sets_its_curvature_and_its_normaliser(name, engine):
    criterion, kind = CRITERIA[name]
    x, y = classification(11)
    y = probabilities(11) if kind == "probability" else y
    exact = dense_gauss_newton(mlp(), lambda m: m(x.double()), lambda z: criterion(z, y))
    loader = cut((x.double(), y), [4, 4, 3])
    assert_serves(GGNOperator(mlp().double(), loader, criterion=criterion, engine=engine), exact)


@pytest.mark.parametrize("engine", ["captured", "autograd"])
def test_log_probabilities_are_cut_before_the_log_softmax(engine):
    x, y = classification(7)
    exact = dense_gauss_newton(mlp(), lambda m: m(x.double()), lambda z: F.cross_entropy(z, y))
    model = nn.Sequential(*mlp().double(), nn.LogSoftmax(1))
    op = GGNOperator(model, [(x.double(), y)], criterion=nn.NLLLoss(), engine=engine)
    assert_serves(op, exact)


@pytest.mark.parametrize("engine", ["captured", "autograd"])
def test_probabilities_of_which_the_loss_takes_logs_are_cut_before_the_sigmoid(engine):
    x, y = classification(7)[0].double(), probabilities(7)
    exact = dense_gauss_newton(
        mlp(), lambda m: m(x), lambda z: F.binary_cross_entropy_with_logits(z, y)
    )
    model = nn.Sequential(*mlp().double(), nn.Sigmoid())
    op = GGNOperator(model, [(x, y)], criterion=nn.BCELoss(), engine=engine)
    assert_serves(op, exact, 1e-10)  # the logit of a probability loses some digits


def test_a_squared_error_of_probabilities_is_cut_after_the_sigmoid():
    x, y = classification(7)[0].double(), probabilities(7)
    exact = dense_gauss_newton(mlp(), lambda m: torch.sigmoid(m(x)), lambda p: F.mse_loss(p, y))
    model = nn.Sequential(*mlp().double(), nn.Sigmoid())
    assert_serves(GGNOperator(model, [(x, y)], criterion=nn.MSELoss(), engine="captured"), exact)


def log_of_softmax(z, y):
    return -z.softmax(1).log().gather(1, y[:, None]).mean()


LOSSES = {
    "logsumexp": lambda z, y: (z.logsumexp(1) - z[:, 0]).mean(),
    "log of a softmax": log_of_softmax,
    "fourth power": lambda z, y: (z - 0.3).pow(4).sum(1).mean(),
    "not convex": lambda z, y: torch.sin(z).sum(1).mean(),
    "coupled rows": lambda z, y: (z @ z.T).logsumexp(1).mean(),
    "root of a mean": lambda z, y: z.square().mean().sqrt(),
    "square of a mean": lambda z, y: z.mean(0).square().sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_outputs_of_any_loss_function_are_found(name):
    x, y = classification(9)
    loss = LOSSES[name]

    exact = dense_gauss_newton(mlp(), lambda m: m(x.double()), lambda z: loss(z, y))
    op = GGNOperator(mlp().double(), [(x.double(), y)], loss_fn=lambda m, b: loss(m(b[0]), b[1]))
    assert op.engine == "captured"
    assert_serves(op, exact, 1e-11)


def test_what_the_caller_detached_is_a_constant():
    x, y = classification(9)

    def outputs(model, inputs):
        hidden = torch.tanh(model[0](inputs))
        z = model[2](hidden)
        return z * z.detach().norm() + (hidden * hidden.detach()).sum(1, keepdim=True)

    def loss_fn(model, batch):
        return F.cross_entropy(outputs(model, batch[0]), batch[1])

    exact = dense_gauss_newton(
        mlp(), lambda m: outputs(m, x.double()), lambda z: F.cross_entropy(z, y)
    )
    op = GGNOperator(mlp().double(), [(x.double(), y)], loss_fn=loss_fn)
    assert op.engine == "captured"
    assert_serves(op, exact)


class Heads(nn.Module):
    """A trunk with a class and a size, returned by name."""

    def __init__(self, nested=False):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.kind, self.size = nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(4, 1)
        self.nested = nested

    def forward(self, x):
        x = torch.tanh(self.trunk(x))
        return {"kind": self.kind(x), "size": x if self.nested else self.size(x)[:, 0]}


def of_heads(kind, size, y):
    return F.cross_entropy(kind, y) + (size - 1).pow(4).mean() + (kind[:, 0] * size).mean()


def test_several_heads_are_outputs_together():
    x, y = classification(7)

    def joined(model):
        out = model(x.double())
        return torch.cat([out["kind"], out["size"][:, None]], 1)

    exact = dense_gauss_newton(Heads(), joined, lambda z: of_heads(z[:, :3], z[:, 3], y))
    op = GGNOperator(
        Heads().double(), [(x.double(), y)], loss_fn=lambda m, b: of_heads(**m(b[0]), y=b[1])
    )
    assert op.engine == "captured"
    assert_serves(op, exact)
    program = op._engine._programs.find("value", (x.double(), y))
    with pytest.raises(ValueError, match="several outputs"):
        _ = program.cut


def test_the_outputs_of_two_calls_count_together():
    x, y = classification(7)
    exact = dense_gauss_newton(
        mlp(),
        lambda m: torch.cat([m(x.double()), m(2 * x.double())]),
        lambda z: (z[:7].logsumexp(1) * z[7:, 0]).mean(),
    )
    op = GGNOperator(
        mlp().double(),
        [(x.double(), y)],
        loss_fn=lambda m, b: (m(b[0]).logsumexp(1) * m(2 * b[0])[:, 0]).mean(),
    )
    assert_serves(op, exact)
    assert not op._model._forward_hooks


def test_token_losses_count_each_valid_token():
    class PerToken(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.out = nn.Embedding(7, 4), nn.Linear(4, 3)

        def forward(self, tokens):
            return self.out(torch.tanh(self.table(tokens))).transpose(1, 2)  # (B, C, T)

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (5, 6), generator=generator)
    y = torch.randint(3, (5, 6), generator=generator)
    y[0, 2:], y[3, 0] = -100, -100
    exact = dense_gauss_newton(PerToken(), lambda m: m(tokens), lambda z: F.cross_entropy(z, y))
    for engine in ("captured", "autograd"):
        op = GGNOperator(PerToken().double(), cut((tokens, y), [3, 2]), engine=engine)
        assert_serves(op, exact)


def test_diagonal_blocks_of_a_piecewise_linear_network_are_those_of_the_hessian():
    x, y = classification(8, (1, 6, 6))
    hessian = dense_hessian(conv_net(), lambda m: F.cross_entropy(m(x.double()), y))
    op = GGNOperator(conv_net().double(), [(x.double(), y)], engine="captured")
    ours, places = matrix(op), op.space.offsets
    for start, stop in pairwise(places):
        part = slice(start, stop)
        assert_relative(ours[part, part], hessian[part, part], 1e-12)
    assert not torch.allclose(ours, hessian)


def test_the_cut_does_not_move_with_the_selected_parameters():
    x, y = classification(7)
    data = [(x.double(), y)]
    full, model = GGNOperator(mlp().double(), data), mlp().double()
    part = GGNOperator(model, data, params=model[0])
    size = part.shape[0]
    assert_relative(matrix(part), matrix(full)[:size, :size], 1e-12)
    # Behind the first layer alone, the hidden units would pass for outputs of a curved loss.
    with pytest.raises(ValueError, match="cannot be cut"):
        GGNOperator(model, data, loss_fn=lambda m, b: m(b[0]).mean(), params=model[0])


def test_operations_with_arguments_of_words_are_captured():
    x, y = classification(7)
    data = [(x.double(), y)]

    def make():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.GELU("tanh"), nn.Linear(6, 3)).double()

    op = GGNOperator(make(), data, engine="captured")
    assert_serves(op, matrix(GGNOperator(make(), data, engine="autograd")))


def test_a_float32_product_is_as_accurate_as_double_vector_jacobian_products():
    x, y = classification(16)
    exact = dense_gauss_newton(
        layer_norm_net(), lambda m: m(x.double()), lambda z: F.cross_entropy(z, y)
    )
    ours, plain = (
        GGNOperator(layer_norm_net(), [(x, y)], engine=engine)
        for engine in ("captured", "autograd")
    )
    v = torch.randn(4, ours.shape[0])
    assert_as_accurate(ours(v), plain(v), v.double() @ exact)


def test_it_shares_no_program_with_the_hessian():
    x, y = classification(6)
    data = [(x.double(), y)]
    for _ in range(2):
        ours, hessian = (
            matrix(kind(mlp().double(), data, engine="captured"))
            for kind in (GGNOperator, HessianOperator)
        )
        assert not torch.allclose(ours, hessian)


class Sign(torch.autograd.Function):
    """Its backward pass is a surrogate's: that of a clipped identity."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() < 1)


def test_a_surrogate_gradient_stays_the_jacobian():
    class Signs(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.second(Sign.apply(self.first(x)))

    x, y = classification(7)
    exact = dense_gauss_newton(Signs(), lambda m: m(x.double()), lambda z: F.cross_entropy(z, y))
    op = GGNOperator(Signs().double(), [(x.double(), y)])
    assert op.engine == "autograd"
    assert "another gradient" in op.engine_note
    assert_serves(op, exact)


def test_nothing_of_the_callers_is_changed():
    model = conv_net().train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = snapshot(model)
    op = GGNOperator(model, cut(classification(8, (1, 6, 6)), [5, 3]))
    op(torch.ones(2, op.shape[0]))
    op.random_quadratics(2, seed=0)
    assert_same_state(model, before)


def ggn(**options):
    return GGNOperator(mlp(), [classification(6)], **options)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: ggn(loss_fn=lambda m, b: m(b[0]).abs().mean()), "captured loss, but: .*linear"),
        (
            lambda: ggn(
                loss_fn=lambda m, b: F.cross_entropy(m(b[0]), b[1]) + m[0].weight.square().sum()
            ),
            "see weight_decay",
        ),
        (
            lambda: GGNOperator(
                Heads(nested=True),
                [classification(6)],
                loss_fn=lambda m, b: sum(out.square().mean() for out in m(b[0]).values()),
            ),
            "cannot be cut",
        ),
        (
            lambda: ggn(loss_fn=lambda m, b: m(b[0]).square().mean(), engine="autograd"),
            "loss_fn does not say what the outputs of the network are",
        ),
        (
            lambda: GGNOperator(
                mlp(), [(classification(6)[0], torch.ones(6, 3))], criterion=nn.L1Loss()
            ),
            "L1Loss is linear in the outputs",
        ),
        (lambda: ggn(criterion=nn.NLLLoss(), engine="autograd"), "not log-probabilities"),
        (lambda: ggn(engine="fast"), "engine must be 'auto', 'captured' or 'autograd', got 'fast'"),
    ],
)
def test_what_has_no_gauss_newton_matrix_is_named(act, text):
    with pytest.raises(ValueError, match=text):
        act()


def row_losses(z, y):
    return F.cross_entropy(z, y, reduction="none")


@pytest.mark.parametrize(
    "criterion",
    [
        lambda z, y: ((1 - torch.exp(-row_losses(z, y))) ** 2 * row_losses(z, y)).mean(),
        lambda z, y: row_losses(z, y).square().mean(),
        lambda z, y: (row_losses(z, y) ** 1.0).mean(),
    ],
    ids=["focal", "squared", "to the power of one"],
)
def test_a_loss_curved_in_what_a_row_loses_is_one_of_the_models_outputs(criterion):
    x, y = classification(14, (5,))
    exact = dense_gauss_newton(mlp(), lambda m: m(x.double()), lambda z: criterion(z, y))
    op = GGNOperator(mlp().double(), [(x.double(), y)], criterion=criterion)
    assert_serves(op, exact, 1e-11)

from __future__ import annotations

import warnings
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from networks import LADDER
from oracles import assert_relative, classification, cut, mlp
from torch import nn

from landscape_fast.linearise import cuts, engines, programs
from landscape_fast.linearise.operators import HessianOperator


def pair(make, loader, **options):
    names = ("captured", "autograd")
    return [HessianOperator(make().double(), loader, engine=e, **options) for e in names]


def doubled(batches):
    return [(x.double(), y) for x, y in batches]


@pytest.mark.parametrize("name", LADDER)
def test_the_captured_program_equals_double_backward(name, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 300)
    make, shape = LADDER[name]
    loader = doubled(cut(classification(40, shape), [33, 7]))
    captured, plain = pair(make, loader)
    assert captured.slow_operations == ()
    for k in (1, 5, 16):  # the batch of 33 is cut into pieces
        v = torch.randn(k, captured.shape[0], dtype=torch.float64)
        assert_relative(captured(v), plain(v), 1e-12)


def overwriting(model, batch):
    batch[0].mul_(1.0)
    return F.cross_entropy(model(batch[0]), batch[1])


def test_a_loss_that_overwrites_its_batch_falls_back_and_says_so():
    op = HessianOperator(mlp(), [classification(4)], loss_fn=overwriting)
    assert op.engine == "autograd"
    assert "works in place on what it is given" in op.engine_note


def test_control_flow_on_data_falls_back_and_says_so():
    def loss_fn(model, batch):
        out = model(batch[0])
        return F.cross_entropy(out if float(out.detach().sum()) > 1e9 else 2 * out, batch[1])

    op = HessianOperator(mlp(), [classification(4)], loss_fn=loss_fn)
    assert op.engine == "autograd"
    assert op.engine_note


def test_a_gradient_inside_a_loss_that_autograd_takes_for_fixed_is_left_to_it():
    def loss_fn(model, batch):
        x = batch[0].clone().requires_grad_()
        out = model(x)
        (slope,) = torch.autograd.grad(out.square().sum(), x, retain_graph=True)
        return F.cross_entropy(out * slope.norm(), batch[1])

    with pytest.warns(UserWarning, match="stops gradients"):
        op = HessianOperator(mlp(), [classification(4)], loss_fn=loss_fn)
    assert op.engine == "autograd"
    assert "differs from double backward" in op.engine_note


def test_capture_demanded_but_refused_is_an_error_with_the_reason():
    with pytest.raises(ValueError, match="engine='captured' was asked for, but: .*in place"):
        HessianOperator(mlp(), [classification(4)], loss_fn=overwriting, engine="captured")
    with pytest.raises(ValueError, match="engine must be 'auto', .* or 'autograd', got 'fast'"):
        HessianOperator(mlp(), [classification(4)], engine="fast")


def test_a_loss_that_couples_rows_is_not_cut(monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 1)

    def loss_fn(model, batch):
        out = model(batch[0])
        return (out - out.mean(0)).square().sum(), len(out)

    loader = doubled([classification(40)])
    captured, plain = pair(mlp, loader, loss_fn=loss_fn)
    v = torch.randn(16, captured.shape[0], dtype=torch.float64)
    assert_relative(captured(v), plain(v), 1e-12)


def test_a_constant_of_the_batch_is_part_of_the_program():
    x, y = classification(8)
    loader = [{"x": x.double(), "y": y, "scale": s} for s in (1.0, 3.0)]

    def loss_fn(model, batch):
        return batch["scale"] * F.cross_entropy(model(batch["x"]), batch["y"])

    captured, plain = pair(mlp, loader, loss_fn=loss_fn)
    v = torch.randn(2, captured.shape[0], dtype=torch.float64)
    assert_relative(captured(v), plain(v), 1e-12)


def test_weights_may_change_between_products():
    model = mlp().double()
    loader = doubled([classification(8)])
    captured = HessianOperator(model, loader, engine="captured")
    v = torch.randn(2, captured.shape[0], dtype=torch.float64)
    before = captured(v)
    with torch.no_grad():
        model[0].weight.mul_(2)
    after = captured(v)
    assert not torch.allclose(before, after)
    assert_relative(after, HessianOperator(model, loader, engine="autograd")(v), 1e-12)


def test_frozen_parameters_are_constants_of_the_program():
    def make():
        model = mlp()
        model[0].requires_grad_(False)
        return model

    captured, plain = pair(make, doubled([classification(8)]))
    v = torch.randn(3, captured.shape[0], dtype=torch.float64)
    assert captured.shape == (21, 21)
    assert_relative(captured(v), plain(v), 1e-12)


def test_no_parameter_of_the_callers_gains_a_graph():
    model = nn.Linear(5, 3)
    HessianOperator(model, [classification(4)])(torch.ones(1, 18))
    assert model.weight.grad_fn is None
    assert model.weight.requires_grad


def test_neighbours_that_are_paired_are_never_cut_apart(monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 1)

    class Paired(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            out = self.layer(x)
            return out + out.reshape(-1, 2, 3).mean(1).repeat_interleave(2, 0)

    captured, plain = pair(Paired, doubled([classification(42)]))
    v = torch.randn(3, captured.shape[0], dtype=torch.float64)
    assert_relative(captured(v), plain(v), 1e-12)


def test_a_stop_gradient_that_only_some_rows_meet_is_kept():
    x, y = classification(40)
    x[:, 0] = -1.0
    x[13, 0] = 1.0

    def loss_fn(model, batch):
        out = model(batch[0])
        scale = torch.where(batch[0][:, :1] > 0, out.detach(), torch.ones_like(out))
        return F.cross_entropy(out * scale, batch[1])

    model, data = mlp().double(), [(x.double(), y)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        captured = HessianOperator(model, data, loss_fn=loss_fn, engine="captured")
    plain = HessianOperator(model, data, loss_fn=loss_fn, engine="autograd")
    v = torch.randn(2, plain.shape[0], dtype=torch.float64)
    assert_relative(captured(v), plain(v), 1e-12)


class Square(torch.autograd.Function):
    """Its backward pass is right, and hides from autograd what it depends on."""

    @staticmethod
    def forward(ctx, x):
        ctx.kept = x.detach()
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.kept * gradient


def test_a_backward_pass_that_leaves_the_graph_is_refused():
    def loss_fn(model, batch):
        return Square.apply(model(batch[0])).sum(), len(batch[0])

    data = [classification(4)]
    with pytest.raises(ValueError, match="the backward pass of Square leaves the graph"):
        HessianOperator(mlp(), data, loss_fn=loss_fn)
    assert HessianOperator(mlp(), data, loss_fn=loss_fn, engine="autograd").engine == "autograd"


def test_a_program_that_agreed_is_trusted_with_models_of_its_structure(monkeypatch):
    monkeypatch.setattr(programs, "_shared", OrderedDict())
    held = []
    inner = engines.AutogradEngine.multiply
    monkeypatch.setattr(
        engines.AutogradEngine,
        "multiply",
        lambda self, *more: held.append(1) or inner(self, *more),
    )
    counts = []
    for rows in (12, 12, 13):
        HessianOperator(mlp(), [classification(rows)], engine="captured")
        counts.append(len(held))
    assert counts == [1, 1, 2]


def test_a_program_that_failed_is_never_trusted(monkeypatch):
    monkeypatch.setattr(programs, "_shared", OrderedDict())
    monkeypatch.setattr(engines, "form_error", lambda *_: float("nan"))
    for _ in range(2):
        assert HessianOperator(mlp(), [classification(12)]).engine == "autograd"


def test_a_second_derivative_is_held_to_differences_in_every_model():
    """Behind a head of zeros nothing of it shows, and training moves the head."""

    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x.detach()
            return x.tanh()

        @staticmethod
        def backward(ctx, g):
            return g * (1 - ctx.x.tanh() ** 2)

    class Activation(nn.Module):
        def forward(self, x):
            return Tanh.apply(x)

    model = nn.Sequential(nn.Linear(5, 6), Activation(), nn.Linear(6, 3))
    head = model[2].weight.detach().clone()
    with torch.no_grad():
        model[2].weight.zero_()
    HessianOperator(model, [classification(12)])
    with torch.no_grad():
        model[2].weight.copy_(3 * head)
    with pytest.raises(ValueError, match="the backward pass of Tanh leaves the graph"):
        HessianOperator(model, [classification(12)])


class Picked(nn.Module):
    """Rows are chosen by their values, in a way or another."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.way = nn.Linear(4, 3), way

    def forward(self, x):
        z = self.linear(x)
        if self.way == "mask":
            return z + z[x[:, 0] > 0].mean(0)
        if self.way == "branch":
            return 2 * z if z.sum() > 0 else z
        if self.way == "item":
            return z * int(z.detach().abs().sum() * 1e-9 + 1)
        return z + (x[:, 0] > 0).long().unique(return_inverse=True)[1][:, None]


@pytest.mark.parametrize("way", ["mask", "branch", "item", "unique"])
def test_a_model_that_branches_on_values_falls_back_and_says_what_to_write_instead(way):
    x, y = classification(12, (4,))
    op = HessianOperator(Picked(way), [(x, y)])
    assert op.engine == "autograd"
    assert "values of the data decide a shape or a branch" in op.engine_note
    assert "torch.where" in op.engine_note


def spoken(model, batch):
    frames = model(batch[0]).log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(frames, batch[1], (6, 6, 6), (2, 2, 2))


def test_a_loss_that_torch_cannot_differentiate_twice_is_refused_in_words():
    torch.manual_seed(0)
    data, model = [(torch.randn(3, 6, 4), torch.randint(1, 5, (3, 2)))], nn.Linear(4, 5)
    words = "cannot be differentiated twice: torch says .*_ctc_loss"
    with pytest.raises(ValueError, match=words):
        HessianOperator(model, data, loss_fn=spoken)
    op = HessianOperator(model, data, loss_fn=spoken, engine="autograd")
    with pytest.raises(ValueError, match=words):
        op(torch.ones(op.shape[0]))

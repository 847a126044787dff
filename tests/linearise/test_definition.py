from __future__ import annotations

import functools
from argparse import Namespace

import numpy as np
import pytest
import torch
from oracles import assert_relative, classification, dense_hessian
from torch import nn

from landscape_fast import GGNOperator, HessianOperator
from landscape_fast.linearise.definition import Definition


class Masked(nn.Module):
    """A mask and a slope in plain attributes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.out = nn.Linear(5, 4), nn.Linear(4, 3)
        self.slope = nn.LeakyReLU(0.1)
        self.mask = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
        self.scales = [torch.ones(4, dtype=torch.float64)]
        self.hparams, self.args = {"rate": 1.0}, Namespace(rate=1.0)
        self.factor = np.float64(1.0)

    def forward(self, x):
        rate = self.hparams["rate"] * self.args.rate * float(self.factor)
        return self.out(torch.tanh(self.slope(self.first(x))) * self.mask * self.scales[0] * rate)


def exact(model, batch):
    return dense_hessian(
        model, lambda m: nn.functional.cross_entropy(m(batch[0]), batch[1], reduction="mean")
    )


def batch_and_model():
    x, y = classification(6)
    return (x.double(), y), Masked().double()


CHANGES = {
    "a number": lambda m: setattr(m.slope, "negative_slope", 0.9),
    "a new tensor": lambda m: setattr(m, "mask", m.mask.flip(0)),
    "a tensor in place": lambda m: m.mask.mul_(2),
    "a tensor in a list": lambda m: m.scales[0].mul_(3),
    "a number in a dict": lambda m: m.hparams.update(rate=2.0),
    "a number in a namespace": lambda m: setattr(m.args, "rate", 2.0),
    "a number of numpy": lambda m: setattr(m, "factor", np.float64(2.0)),
    "a submodule": lambda m: setattr(m, "slope", nn.Softplus()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_operator_follows_what_its_model_computes_now(change):
    batch, model = batch_and_model()
    op = HessianOperator(model, [batch])
    block = torch.eye(op.shape[0], dtype=torch.float64)
    assert op.engine == "captured"
    assert_relative(op(block), exact(model, batch), 1e-12)
    CHANGES[change](model)
    changed = exact(model, batch)
    assert_relative(op(block), changed, 1e-12)
    assert_relative(op.quadratic(block), changed.diagonal(), 1e-12)
    assert_relative(op(block), changed, 1e-12)


class Counting(Masked):
    """Counts its calls, which is no change of what it computes."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_what_a_pass_changes_itself_does_not_make_the_next_one_capture_again():
    x, y = classification(6)
    model = Counting().double()
    op = HessianOperator(model, [(x[:4].double(), y[:4]), (x[4:].double(), y[4:])])
    block = torch.eye(op.shape[0], dtype=torch.float64)
    first = op(block)
    calls = model.calls
    assert torch.equal(op(block), first)
    assert model.calls == calls


@pytest.mark.parametrize("kind", [HessianOperator, GGNOperator])
def test_a_criterion_that_changes_is_refused(kind):
    batch, model = batch_and_model()
    criterion = nn.CrossEntropyLoss(weight=torch.ones(3, dtype=torch.float64))
    op = kind(model, [batch], criterion=criterion)
    vector = torch.ones(op.shape[0], dtype=torch.float64)
    op(vector)
    criterion.weight[0] = 5.0
    with pytest.raises(ValueError, match="criterion has changed"):
        op(vector)


def test_a_criterion_attribute_that_changes_is_refused():
    batch, model = batch_and_model()
    criterion = nn.CrossEntropyLoss()
    op = HessianOperator(model, [batch], criterion=criterion)
    criterion.label_smoothing = 0.3
    with pytest.raises(ValueError, match="criterion has changed"):
        op.quadratic(torch.ones(1, op.shape[0], dtype=torch.float64))


WEIGHT = 0.5


class Settings:
    rate = 1.0

    def __init__(self):
        self.factor = 1.0


SETTINGS = Settings()


def shared_factor():
    return WEIGHT * SETTINGS.factor


class Weighted:
    """A loss with a number, a tensor and a teacher, which counts its calls."""

    power = 2

    def __init__(self):
        self.strength, self.calls = 0.5, 0
        self.settings = {"scale": 1.0}
        self.target = torch.ones(3, dtype=torch.float64)
        self.teacher = nn.Linear(5, 3).double()

    def __call__(self, model, batch):
        self.calls += 1
        logits = model(batch[0])
        apart = (logits - self.teacher(batch[0]) - self.target).square().mean()
        loss = nn.functional.cross_entropy(logits, batch[1])
        return self.factor() * loss * self.settings["scale"] + self.strength * apart**self.power

    def factor(self):
        return shared_factor()

    def by_method(self, model, batch):
        return self(model, batch)


LOSS_CHANGES = {
    "a number": lambda loss, _: setattr(loss, "strength", 2.0),
    "a number in a dict": lambda loss, _: loss.settings.update(scale=3.0),
    "a tensor in place": lambda loss, _: loss.target.mul_(3),
    "a teacher through .data": lambda loss, _: loss.teacher.weight.data.mul_(2),
    "an attribute of its class": lambda _, patch: patch.setattr(Weighted, "power", 3),
    "an object in globals": lambda _, patch: patch.setattr(SETTINGS, "factor", 3.0),
    "a global": lambda _, patch: patch.setitem(globals(), "WEIGHT", 4.0),
}


def holder_of(loss):
    trainer = Settings()
    trainer.loss = loss
    return lambda model, batch: trainer.loss(model, batch)


class Trainee(nn.Module):
    def __init__(self, loss):
        super().__init__()
        self.losses = {"train": loss}

    def step(self, model, batch):
        return self.losses["train"](model, batch)


HOLDERS = {
    "an object": lambda loss: loss,
    "a method": lambda loss: loss.by_method,
    "a partial": lambda loss: functools.partial(Weighted.__call__, loss),
    "a closure": lambda loss: lambda model, batch: loss(model, batch),
    "a default": lambda loss: lambda model, batch, inner=loss: inner(model, batch),
    "an attribute of an object": lambda loss: holder_of(loss),
    "a method of a module": lambda loss: Trainee(loss).step,
}


@pytest.mark.parametrize("change", LOSS_CHANGES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_an_operator_follows_what_its_loss_computes_now(holder, change, monkeypatch):
    batch, model = batch_and_model()
    torch.manual_seed(1)
    loss = Weighted()
    op = HessianOperator(model, [batch], loss_fn=HOLDERS[holder](loss))
    block = torch.eye(op.shape[0], dtype=torch.float64)
    assert op.engine == "captured"
    before = dense_hessian(model, lambda m: loss(m, batch))
    assert_relative(op(block), before, 1e-12)
    LOSS_CHANGES[change](loss, monkeypatch)
    changed = dense_hessian(model, lambda m: loss(m, batch))
    assert (changed - before).norm() > 0.1 * before.norm()
    assert_relative(op(block), changed, 1e-12)
    assert_relative(op.quadratic(block), changed.diagonal(), 1e-12)


def test_a_loss_that_counts_its_calls_is_captured_once():
    batch, model = batch_and_model()
    loss = Weighted()
    op = HessianOperator(model, [batch], loss_fn=loss)
    vector = torch.ones(op.shape[0], dtype=torch.float64)
    op(vector)
    calls = loss.calls
    op(vector)
    assert loss.calls == calls


def test_training_the_model_that_a_closure_holds_captures_nothing_again():
    batch, model = batch_and_model()
    calls = []

    def loss(_, batch):
        calls.append(1)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    op = HessianOperator(model, [batch], loss_fn=loss)
    vector = torch.ones(1, op.shape[0], dtype=torch.float64)
    op(vector)
    before = len(calls)
    model.first.weight.data.mul_(1.5)
    assert_relative(op(vector)[0], exact(model, batch) @ vector[0], 1e-12)
    assert len(calls) == before


class CountingCriterion(nn.Module):
    calls = 0

    def forward(self, outputs, targets):
        self.calls += 1
        return nn.functional.cross_entropy(outputs, targets)


def test_a_criterion_of_ones_own_may_count_its_calls():
    batch, model = batch_and_model()
    op = HessianOperator(model, [batch], criterion=CountingCriterion())
    vector = torch.ones(1, op.shape[0], dtype=torch.float64)
    assert_relative(op(vector)[0], exact(model, batch) @ vector[0], 1e-12)


def test_a_loss_function_that_counts_otherwise_than_before_is_refused():
    batch, model = batch_and_model()
    weights = {"late": 1.0}

    def loss(model, batch):
        share = 1.0 if batch[1][0] == 0 else weights["late"]
        total = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")
        return share * total, share * len(batch[1])

    first, second = (batch[0][:2], torch.zeros(2).long()), (batch[0][2:], torch.ones(4).long())
    op = HessianOperator(model, [first, second], loss_fn=loss)
    vector = torch.ones(op.shape[0], dtype=torch.float64)
    op(vector)
    weights["late"] = 3.0
    with pytest.raises(ValueError, match="counts the data as 14, and as 6"):
        op(vector)


def test_unchanged_modules_are_unchanged_and_odd_attributes_do_no_harm():
    model = Masked()
    model.odd = object()
    model.function = torch.tanh
    model.nothing = float("nan")
    definition = Definition(model)
    assert not definition.changed()
    model.first.weight.data.add_(1)
    assert not definition.changed()
    model.function = torch.sin
    assert definition.changed()


def test_callers_mistakes_are_named():
    batch, model = batch_and_model()
    with pytest.raises(TypeError, match="criterion is the class CrossEntropyLoss"):
        HessianOperator(model, [batch], criterion=nn.CrossEntropyLoss)
    op = HessianOperator(model, [batch])
    with pytest.raises(TypeError, match="block must be a torch.Tensor, got ndarray"):
        op(torch.ones(op.shape[0]).numpy())

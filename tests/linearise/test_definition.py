from __future__ import annotations

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

    def forward(self, x):
        return self.out(torch.tanh(self.slope(self.first(x))) * self.mask * self.scales[0])


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

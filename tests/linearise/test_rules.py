"""Each rule against the derivative of its one operation, in every program of the ladder."""

from __future__ import annotations

import operator
from collections import OrderedDict

import pytest
import torch
from networks import LADDER
from oracles import classification, cut

from landscape_fast.linearise import liveness
from landscape_fast.linearise import program as programs
from landscape_fast.linearise import programs as shared
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.rules import RULES, forward_mode
from landscape_fast.linearise.rules.registry import rule

aten = torch.ops.aten
# The tangents of these are meant to differ from those of the operation alone: what autograd saved
# detached is the value itself, and mean and deviation are functions of the input.
MEANT = {
    aten.detach.default,
    aten.native_layer_norm.default,
    aten.native_layer_norm_backward.default,
}
NO_FORWARD_MODE = {aten.silu_backward.default}


def disagreements(target, args, kwargs, dots, ours):
    exact = forward_mode(target, args, kwargs, dots)
    ours, exact = ([v] if isinstance(v, torch.Tensor) else v for v in (ours, exact))
    for one, other in zip(ours, exact, strict=True):
        if other is None:  # places have no tangent
            assert one is None
            continue
        zero = torch.zeros_like(other)
        one = zero if one is None else one
        if one.shape != other.shape or not torch.allclose(one, other, rtol=1e-10, atol=1e-12):
            yield str(target)


def checked_rules(monkeypatch, spoil=lambda target, result: result):
    """Run each rule beside forward mode; returns the set of rules seen and those that differ."""
    # With every value there, also where a rule reads only shapes, and layers in their parts.
    monkeypatch.setattr(liveness, "READS_SHAPES", frozenset())
    monkeypatch.setattr(liveness, "READS_ARGUMENTS", frozenset())
    monkeypatch.setattr(shared, "fuse", lambda traced, **_: traced)
    monkeypatch.setattr(shared, "_shared", OrderedDict())
    seen, wrong = set(), set()
    plain = programs.push

    def push(target, args, kwargs, dots, out):
        result = plain(target, args, kwargs, dots, out)
        comparable = result is not None and target not in MEANT | NO_FORWARD_MODE
        is_double = any(isinstance(a, torch.Tensor) and a.dtype == torch.float64 for a in args)
        if comparable and target is not operator.getitem and is_double:
            seen.add(target)
            wrong.update(disagreements(target, args, kwargs, dots, spoil(target, result)))
        return result

    monkeypatch.setattr(programs, "push", push)
    return seen, wrong


@pytest.mark.parametrize("name", LADDER)
def test_every_rule_is_the_derivative_of_its_operation(name, monkeypatch):
    seen, wrong = checked_rules(monkeypatch)
    make, shape = LADDER[name]
    HessianOperator(
        make().double(), [(x.double(), y) for x, y in cut(classification(6, shape), [6])]
    )
    assert len(seen) >= 4
    assert not wrong


def test_the_comparison_sees_a_wrong_rule(monkeypatch):
    def spoil(target, result):
        return result * 1.001 if target is aten.relu.default else result

    _, wrong = checked_rules(monkeypatch, spoil)
    make, shape = LADDER["relu"]
    HessianOperator(make().double(), [(x.double(), y) for x, y in [classification(6, shape)]])
    assert wrong == {"aten.relu.default"}


def test_an_operation_without_a_rule_is_served_by_forward_mode():
    x, y = classification(6)

    def loss_fn(model, batch):
        return torch.special.erfcx(model(batch[0])).square().mean(1).mean()

    model = torch.nn.Linear(5, 3).double()
    batch = [(x.double(), y)]
    op = HessianOperator(model, batch, loss_fn=loss_fn)
    plain = HessianOperator(model, batch, loss_fn=loss_fn, engine="autograd")
    v = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert (op.engine, plain.engine) == ("captured", "autograd")
    assert op.slow_operations
    assert torch.allclose(op(v), plain(v), rtol=1e-10)


def test_an_operation_cannot_have_two_rules():
    with pytest.raises(ValueError, match="aten.relu.default has two rules"):
        rule(aten.relu.default)(RULES[aten.relu.default])

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_relative, classification, conv_net, mlp
from torch import nn

from landscape_fast.linearise import programs, sharing
from landscape_fast.linearise.definition import structure_of
from landscape_fast.linearise.operators import HessianOperator


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(programs, "_shared", type(programs._shared)())


@pytest.fixture
def captures(monkeypatch):
    """Counts the traces made."""
    made = []
    for name in ("capture_gradient", "capture_value"):
        capture = getattr(programs, name)
        monkeypatch.setattr(programs, name, lambda *a, c=capture: made.append(1) or c(*a))
    return made


def matrix(model, **options):
    x, y = classification(6)
    op = HessianOperator(model.double(), [(x.double(), y)], **options)
    return op(torch.eye(op.shape[0], dtype=torch.float64)), op


def test_models_of_one_structure_share_a_program_and_keep_their_own_numbers(captures):
    first, _ = matrix(mlp(seed=0))
    made = len(captures)
    second, op = matrix(mlp(seed=1))
    assert len(captures) == made
    assert op.engine == "captured"
    assert not torch.allclose(first, second)
    assert_relative(second, matrix(mlp(seed=1), engine="autograd")[0], 1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[0].weight.requires_grad_(False),
        lambda m: setattr(m[2], "note", 3),
        lambda m: m.__setitem__(1, nn.ReLU()),
        lambda m: m.double(),
        lambda m: m[2].register_buffer("extra", torch.ones(1)),
    ],
)
def test_another_structure_has_another_key(change):
    plain, changed = mlp(), mlp()
    change(changed)
    assert structure_of(plain, ()) == structure_of(mlp(seed=5), ())
    assert structure_of(plain, ()) != structure_of(changed, ())


def test_what_cannot_be_compared_is_not_shared():
    odd = mlp()
    odd[1].table = {"a": torch.ones(1)}
    assert structure_of(odd, ()) is None


@pytest.mark.parametrize(
    "kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]
)
def test_a_model_with_hooks_is_not_shared(kind):
    hooked = mlp()
    getattr(hooked[1], f"register_{kind}")(lambda *_: None)
    assert structure_of(hooked, ()) is None


def test_tensors_inside_a_program_keep_it_from_being_shared():
    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]) * torch.tensor([1.0, 2.0, 3.0]), batch[1])

    _, op = matrix(mlp(), loss_fn=loss_fn)
    assert op.engine == "captured"
    assert not programs._shared
    exact, _ = matrix(mlp(), loss_fn=loss_fn, engine="autograd")
    assert_relative(matrix(mlp(), loss_fn=loss_fn)[0], exact, 1e-12)


def test_a_program_that_does_not_fit_the_model_is_not_used():
    factor = [1.0]

    class Scaled(nn.Module):
        """Its factor hides in a closure, where no key can see it."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            return self.layer(x) * factor[0]

    matrix(Scaled())
    factor[0] = 2.0
    second, op = matrix(Scaled())
    assert op.engine == "autograd"
    assert_relative(second, matrix(Scaled(), engine="autograd")[0], 1e-12)


def test_hidden_attributes_and_class_attributes_are_part_of_the_structure():
    class Scaled(nn.Module):
        power = 1

        def __init__(self, factor):
            super().__init__()
            self._factor = factor

    assert structure_of(Scaled(1.0), ()) != structure_of(Scaled(2.0), ())
    before = structure_of(Scaled(1.0), ())
    Scaled.power = 2
    assert structure_of(Scaled(1.0), ()) != before


def test_a_function_of_the_callers_shares_no_program():
    factor = [1.0]

    def loss_fn(model, batch):
        return factor[0] * F.cross_entropy(model(batch[0]), batch[1])

    first, _ = matrix(mlp(), loss_fn=loss_fn)
    factor[0] = 3.0
    second, op = matrix(mlp(), loss_fn=loss_fn)
    assert op.engine == "captured"
    assert_relative(second, 3 * first, 1e-12)


def test_an_object_in_a_batch_is_never_frozen_into_a_program():
    class Weight:
        def __init__(self, value):
            self.value = value

        def __repr__(self):
            return "Weight"

    x, y = classification(6)
    loader = [(x.double(), y, Weight(1.0)), (x.double(), y, Weight(10.0))]

    def loss_fn(model, batch):
        return batch[2].value * F.cross_entropy(model(batch[0]), batch[1])

    op = HessianOperator(mlp().double(), loader, loss_fn=loss_fn)
    plain = HessianOperator(mlp().double(), loader, loss_fn=loss_fn, engine="autograd")
    v = torch.randn(2, op.shape[0], dtype=torch.float64)
    assert op.engine == "autograd"
    assert_relative(op(v), plain(v), 1e-12)


def test_the_number_of_kept_programs_is_bounded(monkeypatch):
    monkeypatch.setattr(sharing, "KEPT", 3)
    for rows in (2, 3, 4, 5):
        HessianOperator(conv_net(), [classification(rows, (1, 6, 6))])
    assert len(programs._shared) == 3

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_relative, classification, conv_net, mlp
from torch import nn

from landscape_fast.linearise import programs
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.programs import structure_of


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
    hooked, odd = mlp(), mlp()
    hooked[1].register_forward_hook(lambda *a: None)
    odd[1].table = {"a": torch.ones(1)}
    assert structure_of(hooked, ()) is None
    assert structure_of(odd, ()) is None


def test_tensors_inside_a_program_keep_it_from_being_shared():
    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]) * torch.tensor([1.0, 2.0, 3.0]), batch[1])

    _, op = matrix(mlp(), loss_fn=loss_fn)
    assert op.engine == "captured"
    assert not programs._shared
    exact, _ = matrix(mlp(), loss_fn=loss_fn, engine="autograd")
    assert_relative(matrix(mlp(), loss_fn=loss_fn)[0], exact, 1e-12)


def test_a_program_that_does_not_fit_the_model_is_not_used():
    class Scaled(nn.Module):
        """Its factor hides in a closure, where no key can see it."""

        def __init__(self, factor):
            super().__init__()
            torch.manual_seed(0)
            self.layer, self._factor = nn.Linear(5, 3), factor

        def forward(self, x):
            return self.layer(x) * self._factor

    matrix(Scaled(1.0))
    second, op = matrix(Scaled(2.0))
    assert op.engine == "autograd"
    assert_relative(second, matrix(Scaled(2.0), engine="autograd")[0], 1e-12)


def test_the_number_of_kept_programs_is_bounded(monkeypatch):
    monkeypatch.setattr(programs, "KEPT", 3)
    for rows in (2, 3, 4, 5):
        HessianOperator(conv_net(), [classification(rows, (1, 6, 6))])
    assert len(programs._shared) == 3

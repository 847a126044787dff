"""What a network must be for its per-sample gradients to be had, and what they are shared by."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
import zoo
from oracles import classification, mlp
from torch import nn

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.samplewise import network
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.state import evaluation


def sampled(model, batch, **loss):
    with evaluation(model):
        return SampledNetwork(model, Objective(**loss), ParameterSpace(model), batch)


def test_several_outputs_that_the_loss_reads_apart_are_refused_by_name():
    x, y = classification(6, classes=2)

    def loss_fn(model, batch):
        found = model(batch[0])
        return F.cross_entropy(found["kind"], batch[1]) + found["size"].square().mean(), 1.0

    with pytest.raises(ValueError, match=r"the network has 2 outputs"):
        sampled(zoo.Heads().double(), (x.double(), y), loss_fn=loss_fn)


def test_a_trace_is_made_once_per_shape_and_shared_by_models_of_one_structure(monkeypatch):
    made = []
    capture = network.capture_pullback
    monkeypatch.setattr(network, "_shared", type(network._shared)())
    monkeypatch.setattr(network, "capture_pullback", lambda *a: made.append(1) or capture(*a))
    x, y = classification(6)
    batch = (x.double(), y)
    for seed in (0, 1):
        sampled(mlp(seed=seed).double(), batch).output_shape(batch)
    shared = len(made)
    own = sampled(mlp().double(), batch, loss_fn=lambda m, b: (F.cross_entropy(m(b[0]), b[1]), 1.0))
    assert len(made) > shared  # a function of the caller's may read anything
    again = len(made)
    for _ in range(3):
        own.output_shape(batch)
    assert (shared, len(made) - again) == (3, 1)


def test_what_a_structure_does_not_show_is_never_measured_as_the_model_before():
    """A shared trace is held to every model's own gradient."""
    scale = [1.0]

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp().double()

        def forward(self, x):
            return scale[0] * self.inner(x)

    x, y = classification(6)
    sampled(Scaled(), (x.double(), y))
    scale[0] = 3.0
    with pytest.raises(ValueError, match="another gradient"):
        sampled(Scaled(), (x.double(), y))

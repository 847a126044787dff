"""What a network must be for its per-sample gradients to be had, and what they are shared by."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
import zoo
from oracles import classification

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
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

"""What is folded and where memory is reused changes no loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import classification
from torch import nn

from landscape_fast.linearise.capture import LossInputs, capture_value
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.surfaces.program import PointProgram

aten = torch.ops.aten


class Reads(nn.Module):
    """Values that are read again after a relu or a sum; BatchNorm after many a convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.bare = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False)
        self.deep, self.norm = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)
        self.up, self.after = nn.ConvTranspose2d(4, 3, 2, 2, bias=False), nn.BatchNorm2d(3)
        self.last, self.out = nn.Conv2d(3, 2, 3, 2), nn.Linear(50, 3)
        for norm in (self.bare, self.norm, self.after):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x):
        x = self.bare(self.first(x))
        x = x.relu() + 0.5 * x
        raw = self.deep(x)
        x = self.norm(raw).relu() + raw
        total = x + x
        x = total.relu() + total
        x = self.last(self.after(self.up(x)).relu()).relu()
        return self.out(x.flatten(1))


def program(model, batch, *, channels_last=True, stacked=False):
    inputs = LossInputs(model, ParameterSpace(model))
    traced = capture_value(inputs, Objective(), batch, len(ParameterSpace(model).names), None)
    made = PointProgram(traced, len(inputs.names), channels_last=channels_last, stacked=stacked)
    return made, inputs.gather(())


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_program_has_the_models_loss(channels_last, stacked):
    model = Reads().double().eval()
    x, y = classification(7, (1, 6, 6))
    run, own = program(model, (x.double(), y), channels_last=channels_last, stacked=stacked)
    exact = F.cross_entropy(model(x.double()), y, reduction="sum").item()
    leaves = [run.laid(x.double()), y]
    with torch.no_grad():
        points = [run.prepare(own), run.prepare([0.5 * value for value in own])]
        for _ in range(2):  # what a run writes over is its own
            assert run(points, leaves)[0] == pytest.approx(exact, rel=1e-12)


def test_only_what_can_be_folded_is():
    run, own = program(Reads().eval(), classification(7, (1, 6, 6)))
    targets = [node.target for node in run._run.graph.nodes]
    # The second is read before its normalisation, the third is transposed.
    assert targets.count(aten.native_batch_norm.default) == 2
    assert len(run.prepare(own)) == len(own) + 2
    assert aten.relu_.default in targets
    assert aten.relu.default in targets

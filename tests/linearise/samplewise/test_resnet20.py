"""A trained residual network on real images: the exact trace against one had in another way."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape_fast import diagonal, trace
from landscape_fast.training.readers import read_cifar10


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.added = outputs // 4 if stride > 1 else 0

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        return F.relu(out + x)


class ResNet20(nn.Module):
    """He et al. (2015), section 4.2, arXiv:1512.03385, with shortcuts that have no parameters."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for stage, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
            first = Block(inputs, outputs, 1 if inputs == outputs else 2)
            rest = [Block(outputs, outputs, 1) for _ in range(2)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, 8).flatten(1))


@pytest.fixture
def trained(shared_data, tmp_path):
    """The network, and 500 training images in batches of 125."""
    model = ResNet20()
    path = shared_data / "checkpoints" / "resnet20_cifar10.pt"
    model.load_state_dict(torch.load(path, weights_only=True))
    command = [sys.executable, shared_data / "unpack_cifar10.py", tmp_path, "--chunks", "0,test"]
    subprocess.run(command, check=True, capture_output=True)
    images = read_cifar10(tmp_path, batches=(1,))[0]
    mean, deviation = (
        torch.tensor(values)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    x = (images.pixels[:500].float() / 255 - mean) / deviation
    return model.eval(), list(zip(x.split(125), images.labels[:500].split(125), strict=True))


@pytest.mark.slow
@pytest.mark.data
def test_the_trace_is_that_of_ten_backward_passes_per_image(trained):
    model, loader = trained
    result = diagonal(model, loader)
    # Ten cotangents per image under torch.func.vmap(vjp), nothing left out: 123.395.
    assert float(result.values.sum()) == pytest.approx(123.395, rel=1e-5)
    assert result.exact == result.names
    assert result.products <= 3
    assert 0 < result.omitted <= 1e-4
    assert 0 < float(result.stderr.norm()) < 1e-4 * float(result.values.norm())
    assert result.values.min() >= 0


@pytest.mark.slow
@pytest.mark.data
def test_a_percent_needs_a_fraction_of_a_cotangent_per_image(trained):
    model, loader = trained
    result = trace(model, loader)
    assert result.sampled
    assert result.converged
    assert result.cotangents < 0.5 * 500
    low, high = result.interval(0.999)
    assert low <= 123.395 <= high

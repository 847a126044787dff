"""The trained ResNet-20 and CIFAR-10 images that whole answers are measured on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from linearise.samplewise.test_resnet20 import ResNet20
from torch import Tensor, nn

from landscape_fast.training.readers import read_cifar10

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def trained_resnet20(
    images: int, batch: int, folder: Path
) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """The network in evaluation mode, and the first training images in batches.

    Args:
        images: At most 10,000.
        batch: Images of a batch.
        folder: Where the images may be unpacked.
    """
    if not DATA.is_dir():
        pytest.skip("the real data folder ../shared/data is not beside this checkout")
    model = ResNet20()
    model.load_state_dict(torch.load(DATA / "checkpoints/resnet20_cifar10.pt", weights_only=True))
    command = [sys.executable, DATA / "unpack_cifar10.py", folder, "--chunks", "0,test"]
    subprocess.run(command, check=True, capture_output=True)
    read = read_cifar10(folder, batches=(1,))[0]
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    x = (read.pixels[:images].float() / 255 - mean) / deviation
    return model.eval(), list(zip(x.split(batch), read.labels[:images].split(batch), strict=True))

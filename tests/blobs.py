"""A study small enough for tests: Gaussian blobs, a network of two layers, eight models."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from torch import nn

from landscape_fast.training.data import Dataset


def blobs(*, samples: int = 96) -> Dataset:
    """Three overlapping classes in the plane; half of the samples are for testing."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(samples) % 3
    centres = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    inputs = centres[targets] + torch.randn(samples, 2, generator=generator)
    half = samples // 2
    return Dataset(inputs[:half], targets[:half], inputs[half:], targets[half:], classes=3)


def network(width: int, *, classes: int) -> nn.Module:
    """One hidden layer with BatchNorm."""
    return nn.Sequential(
        nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes)
    )


def broken(width: int, *, classes: int) -> nn.Module:
    """Like :func:`network`, but not of width 3."""
    if width == 3:
        raise ValueError("width 3 brings bad luck")
    return network(width, classes=classes)


def dropped(width: int, *, classes: int) -> nn.Module:
    """Like :func:`network`, with random numbers in every step."""
    return nn.Sequential(*network(width, classes=classes), nn.Dropout(0.1))


def study(**changes: object) -> dict[str, object]:
    """Content of a study file of 2 x 2 cells with two seeds each."""
    return {
        "name": "blobs",
        "model": "blobs:network",
        "data": "blobs:blobs",
        "grid": {
            "load": {"knob": "width", "values": [2, 3]},
            "temperature": {"knob": "batch_size", "values": [8, 24]},
            "seeds": [0, 1],
        },
        "training": {"epochs": 3},
        "measure": {
            "hessian": {"rtol": 0.5, "max_products": 100},
            "connectivity": {"epochs": 1},
            "cka": {"samples": 32},
            "line": None,
            "agreement": None,
            "ensemble": False,
        },
        "classify": {"sharpness_threshold": 0.5, "replicates": 50},
        "plot": {"dpi": 30},
    } | changes


def write_study(path: Path, **changes: object) -> Path:
    """Write :func:`study` as a file."""
    path.write_text(yaml.safe_dump(study(**changes)))
    return path

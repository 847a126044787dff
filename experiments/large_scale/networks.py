"""Small networks of the handwritten digits, and how they are trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

Data = list[tuple[Tensor, Tensor]]

BASE = {"lr": 0.03, "batch": 64, "l2": 0.0, "dropout": 0.0, "width": 64}
SEEDS, EPOCHS = 3, 60


def digits() -> tuple[Data, Data]:
    """1,200 images for training, as one batch, and the others."""
    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16.0
    y = torch.tensor(found.target)
    return [(x[:1200], y[:1200])], [(x[1200:], y[1200:])]


def network(seed: int, width: int = 64, dropout: float = 0.0) -> nn.Module:
    """Two hidden layers without normalisation, so that the norm of the weights counts."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, 10),
    )


def training(
    model: nn.Module, rates: list[float], data: Data, batch: int, l2: float
) -> Iterator[nn.Module]:
    """Train ``model`` in place by SGD with momentum, one rate per epoch; yield it after each."""
    ((x, y),) = data
    optimiser = torch.optim.SGD(model.parameters(), rates[0], momentum=0.9, weight_decay=l2)
    for rate in rates:
        optimiser.param_groups[0]["lr"] = rate
        model.train()
        for rows in torch.randperm(len(x)).split(batch):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
        yield model.eval()


def trained(seed: int, data: Data, *, epochs: int = EPOCHS, **changes: float) -> nn.Module:
    """A network trained by the base recipe with some changes."""
    how: dict[str, Any] = {**BASE, **changes}
    model = network(seed, how["width"], how["dropout"])
    for _ in training(model, [how["lr"]] * epochs, data, how["batch"], how["l2"]):
        pass
    return model

"""Four kinds of networks with their data, one of them spiking, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn

from landscape_fast.training.models import mlp, small_cnn, vit

EPOCHS, BATCH = 30, 64
Data = list[tuple[Tensor, Tensor]]


class Spike(torch.autograd.Function):
    """A step, whose backward pass takes a steep sigmoid's slope for the derivative it lacks."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor) -> Tensor:
        """1 where the potential is above the threshold."""
        ctx.save_for_backward(potential)
        return (potential > 0).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Zenke and Ganguli (2018), doi:10.1162/neco_a_01086."""
        (potential,) = ctx.saved_tensors
        return gradient / (1 + 5 * potential.abs()) ** 2


class Spiking(nn.Module):
    """Leaky integrate-and-fire neurons with recurrent weights; an image is read row by row.

    Args:
        inputs: Numbers in a row.
        hidden: Neurons.
        outputs: Readout, of the mean over steps.
        spike: Whether a neuron fires, by its potential above the threshold.
    """

    def __init__(
        self,
        inputs: int = 8,
        hidden: int = 64,
        outputs: int = 10,
        spike: Callable[[Tensor], Tensor] = Spike.apply,
    ) -> None:
        super().__init__()
        self.inwards = nn.Linear(inputs, hidden)
        self.recurrent = nn.Linear(hidden, hidden, bias=False)
        self.readout = nn.Linear(hidden, outputs)
        self.spike = spike

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (N, outputs) for images (N, ..., steps, inputs)."""
        rows = images.flatten(1, -3) if images.dim() > 3 else images
        rows = rows.reshape(len(images), -1, self.inwards.in_features)
        potential = fired = rows.new_zeros(len(rows), self.recurrent.in_features)
        total = rows.new_zeros(len(rows), self.readout.out_features)
        for step in range(rows.shape[1]):
            potential = 0.8 * potential * (1 - fired)  # leaks, and starts anew after a spike
            potential = potential + self.inwards(rows[:, step]) + self.recurrent(fired)
            fired = self.spike(potential - 1.0)
            total = total + self.readout(fired)
        return total / rows.shape[1]


@dataclass(frozen=True)
class Kind:
    """A kind of network, its data and its loss."""

    name: str
    build: Callable[[], nn.Module]
    data: Data
    criterion: nn.Module
    surrogate: bool = False


def kinds() -> list[Kind]:
    """The four of the picture."""
    table, progression = load_diabetes(return_X_y=True)
    x = torch.tensor(table, dtype=torch.float32) * len(table) ** 0.5
    y = torch.tensor(progression, dtype=torch.float32)[:, None]
    y = (y - y.mean()) / y.std()
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels[:1400] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    digits = batches(images, torch.tensor(labels[:1400]))
    classes = nn.CrossEntropyLoss()
    return [
        Kind(
            "perceptron, table",
            lambda: mlp(width=32, classes=1, input_shape=(10,)),
            batches(x, y),
            nn.MSELoss(),
        ),
        Kind("convolutional", lambda: small_cnn(width=8), digits, classes),
        Kind(
            "transformer",
            lambda: vit(width=16, input_shape=(1, 8, 8), patch=2, depth=2, heads=2),
            digits,
            classes,
        ),
        Kind("recurrent, spiking", Spiking, digits, classes, surrogate=True),
    ]


def batches(x: Tensor, y: Tensor) -> Data:
    """Cut rows for the measurements."""
    return list(zip(x.split(200), y.split(200), strict=True))


def trained(kind: Kind, seed: int) -> nn.Module:
    """A network of this kind after training from ``seed``."""
    torch.manual_seed(seed)
    model = kind.build()
    x, y = (torch.cat(column) for column in zip(*kind.data, strict=True))
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            kind.criterion(model(x[rows]), y[rows]).backward()
            optimiser.step()
        schedule.step()
    return model.eval()

"""Small networks and recipes for the tests of training."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from landscape_fast.training.fit import Fit
from landscape_fast.training.randomness import derived_seed
from landscape_fast.training.recipe import Recipe

SMALL = {"model": "small_cnn", "data": "digits", "width": 2, "batch_size": 64, "epochs": 4}
MODULE = "training.fits"  # of the networks below, as recipes name them


class Dropped(nn.Module):
    """A linear layer behind dropout: its training draws random numbers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(functional.dropout(inputs.flatten(1), 0.5, training=self.training))


class Flat(nn.Module):
    """A linear layer alone: training can be repeated by hand."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(inputs.flatten(1))


class Killed(Flat):
    """Is interrupted in one of its steps, as if the process had been killed."""

    steps_left = math.inf

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        type(self).steps_left -= 1
        if type(self).steps_left < 0:
            raise KeyboardInterrupt
        return super().forward(inputs)


class Drawing(Flat):
    """Keeps one random number for each batch."""

    drawn: ClassVar[list[float]] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.drawn.append(torch.rand(()).item())
        return super().forward(inputs)


class Watched(Flat):
    """Remembers in which precision it computed."""

    seen: ClassVar[set[torch.dtype]] = set()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(inputs)
        self.seen.add(outputs.dtype)
        return outputs


def per_sample(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def same_bits(one: Fit, two: Fit) -> bool:
    weights = one.state_dict.keys() == two.state_dict.keys() and all(
        torch.equal(value, two.state_dict[name]) for name, value in one.state_dict.items()
    )
    return weights and one.train_loss == two.train_loss and one.epoch == two.epoch


def order_of(recipe: Recipe, epoch: int, samples: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(derived_seed(recipe.seed, "order", epoch))
    return torch.randperm(samples, generator=generator)

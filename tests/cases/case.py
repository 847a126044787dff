"""What people bring: a network, data and a loss, with what is expected of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import zoo
from torch import nn

ROWS = 6


@dataclass
class Case:
    make: Callable[[], nn.Module]
    batch: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    slow: tuple[str, ...] = ()  # operations left to the general rule
    autograd: str | None = None  # part of the note that says why there is no capture
    error: str | None = None  # of torch, where it has no second derivative at all
    warning: str | None = None


def noise(*shape):
    return torch.randn(ROWS, *shape)


def labels(classes, *shape):
    return torch.randint(classes, (ROWS, *shape))


def rows(make, shape, classes=3, **options):
    return Case(make, lambda: (noise(*shape), labels(classes)), **options)


def image(*middle, out=2, **options):
    return rows(lambda: zoo.images(*(part() for part in middle), out=out), (1, 6, 6), **options)


def vector(*middle, **options):
    return rows(lambda: zoo.vectors(*(part() for part in middle)), (5,), **options)


def loss(criterion, targets=lambda: labels(3), **options):
    return Case(
        lambda: zoo.vectors(nn.Tanh()),
        lambda: (noise(5), targets()),
        {"criterion": criterion},
        **options,
    )


def function(loss_fn, make=None, batch=None, **options):
    batch = batch or (lambda: (noise(5), labels(3)))
    return Case(make or (lambda: zoo.vectors(nn.Tanh())), batch, {"loss_fn": loss_fn}, **options)

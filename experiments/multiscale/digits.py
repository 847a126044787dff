"""Runs at the edge of stability on the handwritten digits, and growth around their ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from landscape_fast import edge_of_stability, loss_growth, stability_threshold, top_eigs
from landscape_fast.results import Growth, StabilityRun

EDGE = 16.0  # sharpness at which all three optimisers lose their footing
STEPS, DECAY, SETTLE = 2000, 1500, 4000
FARTHEST = 30.0  # radius, in weights
WINDOWS = ((1e-3, 1e-1), (1.0, 10.0))  # rises of the loss that exponents are fitted over
NAMES = (
    "top eigenvector",
    "10th eigenvector",
    "last step of the run",
    "back to the start",
    "mean of 16 random",
)
RULES: dict[str, dict[str, Any]] = {
    "gradient descent": {},
    "heavy ball": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.9, "nesterov": True},
}
Data = list[tuple[Tensor, Tensor]]
Criterion = Callable[[Tensor, Tensor], Tensor]


def network() -> nn.Module:
    """One hidden layer of 32 tanh units: 2,410 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def images() -> Data:
    """1,000 images and their classes as unit vectors, for the squared loss."""
    found = load_digits()
    x = torch.tensor(found.data[:1000], dtype=torch.float32) / 16.0
    y = nn.functional.one_hot(torch.tensor(found.target[:1000]), 10).float()
    return [(x, y)]


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the squared norm of the residual, mean over samples, as Cohen et al. (2021)."""
    return (outputs - targets).square().sum(1).mean() / 2


LOSSES: dict[str, Criterion] = {"squared": squared, "cross-entropy": nn.functional.cross_entropy}


def rate(rule: str, edge: float = EDGE) -> float:
    """Learning rate at which an optimiser's threshold is ``edge``."""
    return stability_threshold(1.0, **RULES[rule]) / edge


def edges(data: Data) -> dict[str, StabilityRun]:
    """One run for every optimiser, learning rates chosen so that all thresholds are one number."""
    return {
        name: edge_of_stability(
            network(), data, lr=rate(name), steps=STEPS, criterion=squared, **rule
        )
        for name, rule in RULES.items()
    }


def decayed(data: Data) -> StabilityRun:
    """Gradient descent at the edge, then with a quarter of the learning rate."""
    lr = rate("gradient descent")
    rates = {0: lr, DECAY: lr / 4}
    return edge_of_stability(network(), data, lr=rates, steps=STEPS, every=5, criterion=squared)


def placed(weights: Tensor) -> nn.Module:
    """The network at flat parameters ``weights``."""
    model = network()
    nn.utils.vector_to_parameters(weights, model.parameters())
    return model


def growth(data: Data, criterion: Criterion) -> tuple[Growth, Growth]:
    """Below the end of a run with momentum: the directions of ``NAMES``, and 16 random ones.

    Below it is where small steps with momentum lead, far from any threshold.
    """
    momentum: dict[str, Any] = {"criterion": criterion, **RULES["heavy ball"]}
    lr = rate("heavy ball")
    run = edge_of_stability(network(), data, lr=lr, steps=STEPS, every=STEPS, **momentum)
    below = edge_of_stability(
        placed(run.end), data, lr=lr / 4, steps=SETTLE, every=SETTLE, **momentum
    )
    model = placed(below.end)
    pairs = top_eigs(model, data, k=10, criterion=criterion, tol=1e-4)
    ways = [*pairs.vectors[[0, 9]], run.move, network()]
    options: dict[str, Any] = {"span": (1e-5, FARTHEST), "per_decade": 12, "criterion": criterion}
    random = loss_growth(model, data, directions=16, **options)
    found = loss_growth(model, data, directions=ways, **options)
    mean = {
        name: torch.cat([getattr(found, name), getattr(random, name).mean(0, keepdim=True)])
        for name in ("sides", "slopes", "curvatures")
    }
    return replace(found, **mean), random


def growth_numbers(found: Growth, random: Growth) -> dict[str, Any]:
    """What is read off each direction; of random ones the error is that of a mean over 16."""
    local = found.local_exponents()
    near = int((found.radii - 10.0).abs().argmin())
    rows: dict[str, Any] = {}
    for index, name in enumerate(NAMES):
        radius = found.quadratic_radius(index)
        seen = local[index][local[index].isfinite()]
        rows[name] = {
            "curvature": float(found.curvatures[index]),
            "radius": finite(radius.value),
            "ratio": finite(radius.ratio),
            "exponents": [exponent(found, index, between) for between in WINDOWS],
            "highest local exponent": float(seen.max()),
            "local exponent at 10": finite(float(local[index, near])),
            "last local exponent": float(seen[-1]),
            "plateaus": len(found.plateaus(index)),
        }
    for at, between in enumerate(WINDOWS):
        fits = [exponent(random, index, between) for index in range(16)]
        if rows[NAMES[-1]]["exponents"][at] and all(fits):
            spread = np.std([fit[0] for fit in fits if fit], ddof=1)
            rows[NAMES[-1]]["exponents"][at][1] = float(spread) / 4
    return {"loss": found.loss, "slope": float(found.slopes.abs().max()), "directions": rows}


def exponent(found: Growth, index: int, between: tuple[float, float]) -> list[float] | None:
    """Exponent, its error and the radii it is from; None where the rise does not get so far."""
    if not bool((found.rises[index] > between[1]).any()):
        return None
    fit = found.exponent(index, between=between)
    return [fit.exponent, fit.stderr, *fit.window]


def finite(value: float) -> float | None:
    """The number, or None for infinity and nan, which JSON has not."""
    return value if math.isfinite(value) else None


def edge_numbers(runs: dict[str, StabilityRun]) -> dict[str, Any]:
    """When each run crosses its threshold, where it hovers, how often the loss rises."""
    rows = {}
    for name, run in runs.items():
        mean, spread = run.hovering()
        rows[name] = {
            "lr": float(run.rates[0]),
            "threshold": float(run.thresholds[0]),
            "start": float(run.ratios[0]),
            "crossing": run.crossing,
            "hovering": mean,
            "spread": spread,
            "rising": run.rising_share,
            "loss": float(run.losses[-1]),
        }
    return rows


def decay_numbers(run: StabilityRun) -> dict[str, Any]:
    """What happens at the step where the learning rate is quartered."""
    before = run.losses[DECAY - 100 : DECAY]
    return {
        "step": DECAY,
        "level before": float(before.mean()),
        "after 20 steps": float(run.losses[DECAY + 20]),
        "at the end": float(run.losses[-1]),
        "rising before": float((before.diff() > 0).double().mean()),
        "rising after": float((run.losses[DECAY:].diff() > 0).double().mean()),
        "ratio before": run.hovering(DECAY - 200, DECAY)[0],
        "ratio after": run.hovering(DECAY, DECAY + 50)[0],
    }

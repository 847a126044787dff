"""Curves between two networks, and the similarity of two networks, against plain torch.

``curve``: an epoch of training the bend of a Bezier curve, against a loop that puts the point of
the curve into the network by ``torch.func.functional_call`` and leaves the rest to autograd.
``cka``: both networks on the same images, against outputs collected in a loop and Gram matrices.

    pytest benchmarks/bench_curves.py --benchmark-only
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pairing import ratios
from torch import nn
from torch.func import functional_call

from landscape_fast import cka
from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics.curve import BezierCurve
from landscape_fast.metrics.curve_fit import fit_bends
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.training.models import resnet18

IMAGES, BATCH, RATE, MOMENTUM, DECAY = 256, 64, 0.01, 0.9, 5e-4


class Plain:
    """The same training of a bend, as one would write it."""

    def __init__(self, model: nn.Module, ends: list[dict[str, torch.Tensor]]) -> None:
        self.model, self.ends = model, ends
        middle = {k: ((v + ends[1][k]) / 2).requires_grad_() for k, v in ends[0].items()}
        self.bend = middle
        self.optimiser = torch.optim.SGD(middle.values(), RATE, momentum=MOMENTUM)

    def epoch(self, batches, draws) -> None:
        """One pass, with the point of each mini-batch from ``draws``."""
        self.model.train()
        for x, y in batches:
            t = draws.random()
            weights = ((1 - t) ** 2, 2 * t * (1 - t), t**2)
            start, end = self.ends
            at = {
                name: weights[0] * start[name] + weights[1] * bend + weights[2] * end[name]
                for name, bend in self.bend.items()
            }
            penalty = sum(point.square().sum() for point in at.values())
            loss = F.cross_entropy(functional_call(self.model, at, (x,)), y) + DECAY / 2 * penalty
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()


def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, 3, 32, 32, generator=generator)
    return x, torch.randint(10, (IMAGES,), generator=generator)


def describe(benchmark, found: dict) -> None:
    benchmark.extra_info.update(
        ratios=found, threads=torch.get_num_threads(), torch=torch.__version__
    )


@pytest.mark.parametrize("width", [4, 16])
def test_curve(benchmark, width):
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(resnet18(width))
    x, y = images()
    network = PlacedNetwork(models[0])
    ends = [network.space.flatten([p.detach() for p in m.parameters()]) for m in models]
    curve = BezierCurve(torch.stack([ends[0], (ends[0] + ends[1]) / 2, ends[1]]))
    plain = Plain(PlacedNetwork(models[0]).model, [dict(network.space.to_dict(e)) for e in ends])
    data, objective = Minibatches([(x, y)], BATCH), Objective()

    def ours(seed: int = 0) -> None:
        fit_bends(
            curve,
            network,
            data,
            objective,
            np.random.default_rng(seed),
            epochs=1,
            lr=RATE,
            momentum=MOMENTUM,
            weight_decay=DECAY,
        )

    def theirs(seed: int = 0) -> None:
        draws = np.random.default_rng(seed)
        plain.epoch(data.shuffled(draws), draws)

    # An epoch at a hundredth of the rate, as the schedule has it at the end, then held together.
    for group in plain.optimiser.param_groups:
        group["lr"] = RATE / 100
    ours()
    theirs()
    bend = network.space.flatten([plain.bend[name].detach() for name in network.space.names])
    moved = (curve.points[1] - (ends[0] + ends[1]) / 2).norm()
    assert (curve.points[1] - bend).norm() <= 1e-2 * moved  # float32 parameters that hardly moved
    describe(benchmark, ratios(ours, {"plain torch": theirs}, rounds=7))
    benchmark.pedantic(ours, rounds=3)


@pytest.mark.parametrize("width", [4, 16])
def test_cka(benchmark, width):
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(resnet18(width).eval())
    x, y = images()
    loader = list(zip(x.split(BATCH), y.split(BATCH), strict=True))

    def ours() -> float:
        return cka(*models, loader, mixup_alpha=None, samples=IMAGES, batch_size=BATCH).value

    def theirs() -> float:
        with torch.no_grad():
            both = [
                torch.cat([model(x).softmax(1) for x, _ in loader]).double() for model in models
            ]
        grams = [out @ out.T for out in (out - out.mean(0) for out in both)]
        cross, *own = ((a * b).sum() for a, b in (grams, grams[:1] * 2, grams[1:] * 2))
        return float(cross / (own[0] * own[1]).sqrt())

    assert ours() == pytest.approx(theirs(), rel=1e-5)
    describe(benchmark, ratios(ours, {"plain torch": theirs}, rounds=7))
    benchmark.pedantic(ours, rounds=3)

"""Connectors, radial tunnels and ensembles of small networks on the handwritten digits.

    python experiments/large_scale.py docs/images

A few minutes on two cores. Writes two pictures and large-scale.json, which holds the figures that
docs/studies/large-scale.md quotes.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from landscape_fast import linear_barrier, quality
from landscape_fast.large_scale.connector import connector
from landscape_fast.large_scale.ensembles import ensemble_geometry
from landscape_fast.large_scale.simplexes import low_loss_simplex
from landscape_fast.large_scale.tunnels import radial_tunnel, tunnel_trend
from landscape_fast.large_scale.wedges import Wedges
from landscape_fast.plots.tunnels import trends_figure
from landscape_fast.results import Connector, TunnelTrend

Data = list[tuple[Tensor, Tensor]]

BASE = {"lr": 0.03, "batch": 64, "l2": 0.0, "dropout": 0.0, "width": 64}
KNOBS = {
    "lr": (0.003, 0.01, 0.03, 0.1),
    "batch": (16, 64, 256, 1024),
    "l2": (0.0, 3e-4, 1e-3, 3e-3),
    "dropout": (0.0, 0.2, 0.4, 0.6),
    "width": (16, 32, 64, 128),
}
NAMES = {
    "lr": "learning rate",
    "batch": "batch size",
    "l2": "L2 coefficient",
    "dropout": "dropout rate",
    "width": "hidden units",
}
# The same with as many epochs as make rate times steps equal: else hot runs are also longer ones.
EQUAL_TIME = {
    "lr": {0.01: 180, 0.03: 60, 0.1: 18},
    "batch": {16: 15, 64: 60, 256: 240},
}
SEEDS, EPOCHS = 3, 60


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
    model: nn.Module, rates: list[float], data: tuple[Tensor, Tensor], batch: int, l2: float
) -> Iterator[nn.Module]:
    """Train ``model`` in place by SGD with momentum, one rate per epoch; yield it after each."""
    x, y = data
    optimiser = torch.optim.SGD(model.parameters(), rates[0], momentum=0.9, weight_decay=l2)
    for rate in rates:
        optimiser.param_groups[0]["lr"] = rate
        model.train()
        for rows in torch.randperm(len(x)).split(batch):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
        yield model.eval()


def trained(
    seed: int, data: tuple[Tensor, Tensor], *, epochs: int = EPOCHS, **changes: float
) -> nn.Module:
    """A network trained by the base recipe with some changes."""
    how: dict[str, Any] = {**BASE, **changes}
    model = network(seed, how["width"], how["dropout"])
    for _ in training(model, [how["lr"]] * epochs, data, how["batch"], how["l2"]):
        pass
    return model


def toy() -> dict[str, Any]:
    """The toy landscape: barriers between optima, and how often affine cuts reach a wedge."""
    wedges, rows = Wedges(120, 80), []
    generator = torch.Generator().manual_seed(0)
    starts = torch.randn(2, 50, wedges.size, generator=generator, dtype=torch.float64)
    ends = wedges.nearest(starts)
    between = torch.stack([wedges.loss(torch.lerp(*ends, t / 20)) for t in range(21)])
    for dimension in (20, 30, 36, 38, 39, 40, 41, 50):
        losses = []
        for _ in range(20):
            start = torch.randn(wedges.size, generator=generator, dtype=torch.float64)
            span = torch.randn(wedges.size, dimension, generator=generator, dtype=torch.float64)
            losses.append(wedges.lowest_on_cut(start, torch.linalg.qr(span).Q.T)[0])
        rows.append(
            {
                "dimension": dimension,
                "reached": sum(loss < 1e-9 for loss in losses) / len(losses),
                "mean loss": sum(losses) / len(losses),
                "one wedge": wedges.cut_distance(dimension),
            }
        )
    return {
        "loss at starts": float(wedges.loss(starts).mean()),
        "predicted": wedges.start_loss(),
        "highest loss between two optima": float(between.max(0).values.mean()),
        "cuts": rows,
    }


def connected(models: list[nn.Module], data: Data, test: Data, out: Path) -> dict[str, Any]:
    """Connectors of three and of four networks, and simplexes that two of them share."""
    three = connector(models[:3], data, epochs=60, lr=0.1, points=400)
    three.plot().savefig(out / "large-scale-connector.png", dpi=110)
    four = connector(models[:4], data, epochs=60, lr=0.1, points=100)
    shared = low_loss_simplex(models[:2], data, vertices=3, epochs=60, lr=0.1, volume_weight=0.1)
    return {
        "three": told(three, models[0], test),
        "four": told(four, models[0], test),
        "simplex": {
            "log volumes": shared.log_volumes.tolist(),
            "vertex losses": shared.vertex_losses.tolist(),
            "mean loss inside": float(shared.losses.mean()),
            "highest loss inside": float(shared.losses.max()),
        },
    }


def told(found: Connector, like: nn.Module, test: Data) -> dict[str, Any]:
    """Figures of a connector by the number of networks that a centre joins."""
    by_size = []
    for size in range(2, len(found.model_losses) + 1):
        here = [index for index, face in enumerate(found.faces) if len(face) == size]
        steps = [found.steps[index] for index in here]
        by_size.append(
            {
                "joins": size,
                "centroid loss": float(found.centroid_losses[here].mean()),
                "centre loss": float(found.centre_losses[here].mean()),
                "steps": sum(steps) / len(steps),
                "reached": sum(found.reached[index] for index in here) / len(here),
                "moved": float(found.moved[here].mean()),
            }
        )
    centre = copy.deepcopy(like)
    nn.utils.vector_to_parameters(found.centres[-1], centre.parameters())
    pairs = found.cosines[~torch.eye(len(found.cosines), dtype=torch.bool)]
    return {
        "centres": by_size,
        "own losses": found.model_losses.tolist(),
        "target": found.target,
        "inside": spread(found.losses),
        "inside, flat": spread(found.straight_losses),
        "error inside": spread(found.errors),
        "error inside, flat": spread(found.straight_errors),
        "test accuracy of the centre": quality(centre, test).accuracy,
        "distance of networks from the centre": float(found.distances.mean()),
        "cosine between networks": float(pairs.mean()),
    }


def spread(values: Tensor) -> dict[str, float]:
    """Mean, 95% quantile and maximum."""
    return {
        "mean": float(values.mean()),
        "95%": float(values.quantile(0.95)),
        "max": float(values.max()),
    }


def tunnels(pair: tuple[Tensor, Tensor], data: Data, test: Data, out: Path) -> dict[str, Any]:
    """Angular widths by every knob of training."""
    made: dict[tuple[Any, ...], list[nn.Module]] = {}
    trends: dict[str, TunnelTrend] = {}
    rows: dict[str, Any] = {}
    for knob, values in KNOBS.items():
        groups = {}
        for value in values:
            key = tuple({**BASE, knob: value}.values())
            if key not in made:
                made[key] = [trained(seed, pair, **{knob: value}) for seed in range(SEEDS)]
            groups[float(value)] = made[key]
        trends[NAMES[knob]], rows[knob] = widths(groups, data, test)
    for knob, lengths in EQUAL_TIME.items():
        groups = {
            float(value): [
                trained(seed, pair, epochs=epochs, **{knob: value}) for seed in range(SEEDS)
            ]
            for value, epochs in lengths.items()
        }
        _, rows[f"{knob}, equal time"] = widths(groups, data, test)
    trends_figure(trends).savefig(out / "large-scale-tunnels.png", dpi=110)
    one = radial_tunnel(made[tuple(BASE.values())][0], data)
    rows["threshold"] = one.threshold
    rows["radial"] = {
        "scales": one.scales.tolist(),
        "losses": one.radial_losses.tolist(),
        "range": one.radial_range,
        "spread over directions, degrees": math.degrees(float(one.widths.std())),
    }
    return rows


def widths(
    groups: dict[float, list[nn.Module]], data: Data, test: Data
) -> tuple[TunnelTrend, dict[str, Any]]:
    """The trend of one knob, and its figures."""
    trend = tunnel_trend(groups, data, steps=26, largest=1.25, radial_steps=3)
    settings = [
        {
            "value": value,
            "degrees": math.degrees(mean),
            "stderr": math.degrees(stderr),
            "norm": float(trend.norms[trend.settings == value].mean()),
            "loss": float(trend.losses[trend.settings == value].mean()),
            "test accuracy": sum(quality(m, test).accuracy for m in groups[value]) / SEEDS,
        }
        for value, mean, stderr in trend.means
    ]
    return trend, {"rank correlation": trend.rank_correlation, "settings": settings}


def ensembles(pair: tuple[Tensor, Tensor], data: Data, test: Data) -> dict[str, Any]:
    """Weight averaging, snapshots and independent runs."""
    model = network(0)
    averaging = [
        copy.deepcopy(each)
        for epoch, each in enumerate(training(model, [0.05] * 36, pair, 64, 0.0))
        if epoch >= 20 and epoch % 3 == 2
    ]
    model = network(0)
    cycle = [0.1 * (1 + math.cos(math.pi * step / 12)) for step in range(12)]
    snapshots = [
        copy.deepcopy(each)
        for epoch, each in enumerate(training(model, cycle * 6, pair, 64, 0.0))
        if epoch % 12 == 11
    ]
    independent = [trained(seed, pair) for seed in range(6)]
    rows = {}
    for name, members in (
        ("weight averaging", averaging),
        ("snapshots", snapshots),
        ("independent", independent),
    ):
        found = ensemble_geometry(members, data, held_out=test)
        pairs = ~torch.eye(len(members), dtype=torch.bool)
        rows[name] = {
            "members": len(members),
            "travelled": float(found.travelled.mean()),
            "successive cosine": found.successive_cosine,
            "barrier": float(found.barriers[pairs].mean()),
            "disagreement": float(found.disagreement[pairs].mean()),
            "test accuracy": float(found.accuracies.mean()),
            "gain of averaged weights": found.average_gain,
            "gain of averaged predictions": found.ensemble_gain,
        }
    return rows


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16.0
    y = torch.tensor(digits.target)
    pair = x[:1200], y[:1200]
    data, test = [pair], [(x[1200:], y[1200:])]
    models = [trained(seed, pair) for seed in range(4)]
    start = linear_barrier(network(0), models[0], data, points=21).losses
    numbers = {
        "toy": toy(),
        "from start to optimum": start.tolist(),
        "connectors": connected(models, data, test, out),
        "tunnels": tunnels(pair, data, test, out),
        "ensembles": ensembles(pair, data, test),
    }
    (out / "large-scale.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()

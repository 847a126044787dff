"""Weight averaging, snapshots and independent runs as ensembles."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from networks import Data, network, trained, training

from landscape_fast.large_scale.ensembles import ensemble_geometry


def numbers(data: Data, test: Data) -> dict[str, Any]:
    """Figures of all three."""
    model = network(0)
    averaging = [
        copy.deepcopy(each)
        for epoch, each in enumerate(training(model, [0.05] * 36, data, 64, 0.0))
        if epoch >= 20 and epoch % 3 == 2
    ]
    model = network(0)
    cycle = [0.1 * (1 + math.cos(math.pi * step / 12)) for step in range(12)]
    snapshots = [
        copy.deepcopy(each)
        for epoch, each in enumerate(training(model, cycle * 6, data, 64, 0.0))
        if epoch % 12 == 11
    ]
    independent = [trained(seed, data) for seed in range(6)]
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

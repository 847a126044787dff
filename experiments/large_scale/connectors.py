"""Connectors of three and of four networks, and a simplex that two of them share."""

from __future__ import annotations

import copy
from typing import Any

import torch
from networks import Data
from torch import Tensor, nn

from landscape_fast import quality
from landscape_fast.results import Connector, LowLossSimplex


def connector_numbers(found: Connector, like: nn.Module, test: Data) -> dict[str, Any]:
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


def simplex_numbers(found: LowLossSimplex) -> dict[str, Any]:
    """Figures of a simplex."""
    return {
        "log volumes": found.log_volumes.tolist(),
        "vertex losses": found.vertex_losses.tolist(),
        "mean loss inside": float(found.losses.mean()),
        "highest loss inside": float(found.losses.max()),
    }


def spread(values: Tensor) -> dict[str, float]:
    """Mean, 95% quantile and maximum."""
    return {
        "mean": float(values.mean()),
        "95%": float(values.quantile(0.95)),
        "max": float(values.max()),
    }

"""Curvature and training in random planes, from weights of many scales."""

from __future__ import annotations

from typing import Any

from runs import Batches, network

from landscape_fast import (
    goldilocks_zone,
    hyperplane_training,
    intrinsic_dimension,
    plane_curvature,
)
from landscape_fast.results import GoldilocksZone, IntrinsicDimension

SCALES = [10 ** (place / 6) for place in range(-6, 7)]
PLANES = (20, 80)
DIMENSIONS = (5, 10, 20, 40, 60, 80, 120, 200)
IN_PLANES, OUTSIDE = 2e-2, 3e-3  # rates of Adam


def zones(data: Batches) -> dict[str, GoldilocksZone]:
    """Excess over the scale of the weights, of networks without and with biases."""
    return {
        label: goldilocks_zone(network(bias=bias), data, SCALES, rtol=0.05)
        for label, bias in (("no biases", False), ("with biases", True))
    }


def accuracies(data: Batches, held_out: Batches) -> dict[int, list[float]]:
    """Percent after training in planes, from every scale of the weights."""
    found: dict[int, list[float]] = {d: [] for d in PLANES}
    for scale in SCALES:
        model = network(bias=False)
        for parameter in model.parameters():
            parameter.data *= scale
        for d in PLANES:
            run = hyperplane_training(model, data, d, judged_by=held_out, lr=IN_PLANES)
            found[d].append(0.0 if run.diverged else run.accuracy)
    return found


def zone_numbers(
    found: dict[str, GoldilocksZone], trained: dict[int, list[float]], data: Batches
) -> dict[str, Any]:
    """What pictures and page say of the zone, and of random planes through the start."""
    without, biased = found.values()
    planes = plane_curvature(network(), data, 20, planes=10)
    return {
        "scales": SCALES,
        "excess": without.excess.tolist(),
        "stderr": without.stderr.tolist(),
        "peak": without.peak,
        "with_biases": biased.excess.tolist(),
        "with_biases_stderr": biased.stderr.tolist(),
        "accuracies": {str(d): column for d, column in trained.items()},
        "in_plane": float(planes.excess.mean()),
        "in_plane_foretold": float(biased.in_plane(20)[SCALES.index(1.0)]),
        "in_plane_positive": float(planes.positive.mean()),
    }


def dimension(data: Batches, held_out: Batches) -> IntrinsicDimension:
    """The smallest plane of ``DIMENSIONS`` that does nearly as well as training outside."""
    options: dict[str, Any] = {"judged_by": held_out, "epochs": 40}
    outside = hyperplane_training(network(), data, None, lr=OUTSIDE, **options).accuracy
    return intrinsic_dimension(
        network(), data, DIMENSIONS, planes=3, baseline=outside, lr=IN_PLANES, **options
    )


def dimension_numbers(found: IntrinsicDimension) -> dict[str, Any]:
    """What the page says of it."""
    return {
        "tried": found.dimensions,
        "means": found.means.tolist(),
        "stderr": found.stderr.tolist(),
        "threshold": found.threshold,
        "margins": found.margins.tolist(),
        "baseline": found.baseline,
        "bracket": found.bracket,
    }

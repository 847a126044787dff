"""The toy landscape: barriers between optima, and how often affine cuts reach a wedge."""

from __future__ import annotations

from typing import Any

import torch

from landscape_fast.large_scale.wedges import Wedges


def numbers() -> dict[str, Any]:
    """Both, beside what is predicted."""
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

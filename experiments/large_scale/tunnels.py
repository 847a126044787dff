"""Angular widths of radial tunnels by every knob of training."""

from __future__ import annotations

import math
from typing import Any

from networks import BASE, SEEDS, Data, trained
from page import KNOBS
from torch import nn

from landscape_fast import quality
from landscape_fast.large_scale.tunnels import radial_tunnel, tunnel_trend
from landscape_fast.results import TunnelTrend

VALUES = {
    "lr": (0.003, 0.01, 0.03, 0.1),
    "batch": (16, 64, 256, 1024),
    "l2": (0.0, 3e-4, 1e-3, 3e-3),
    "dropout": (0.0, 0.2, 0.4, 0.6),
    "width": (16, 32, 64, 128),
}
# The same with as many epochs as make rate times steps equal: else hot runs are also longer ones.
EQUAL_TIME = {
    "lr": {0.01: 180, 0.03: 60, 0.1: 18},
    "batch": {16: 15, 64: 60, 256: 240},
}


def measured(data: Data, test: Data) -> tuple[dict[str, TunnelTrend], dict[str, Any]]:
    """The trend of every knob by its name, and all figures."""
    made: dict[tuple[Any, ...], list[nn.Module]] = {}
    trends: dict[str, TunnelTrend] = {}
    rows: dict[str, Any] = {}
    for knob, values in VALUES.items():
        groups = {}
        for value in values:
            key = tuple({**BASE, knob: value}.values())
            if key not in made:
                made[key] = [trained(seed, data, **{knob: value}) for seed in range(SEEDS)]
            groups[float(value)] = made[key]
        trends[KNOBS[knob][0]], rows[knob] = widths(groups, data, test)
    for knob, lengths in EQUAL_TIME.items():
        groups = {
            float(value): [
                trained(seed, data, epochs=epochs, **{knob: value}) for seed in range(SEEDS)
            ]
            for value, epochs in lengths.items()
        }
        _, rows[f"{knob}, equal time"] = widths(groups, data, test)
    one = radial_tunnel(made[tuple(BASE.values())][0], data)
    rows["threshold"] = one.threshold
    rows["radial"] = {
        "scales": one.scales.tolist(),
        "losses": one.radial_losses.tolist(),
        "range": one.radial_range,
        "spread over directions, degrees": math.degrees(float(one.widths.std())),
    }
    return trends, rows


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

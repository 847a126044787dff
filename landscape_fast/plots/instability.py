"""The picture of instability: how high barriers are by the step at which copies part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from landscape_fast.plots.canvas import blank_figure, own_style
from landscape_fast.results.instability import CONNECTED

if TYPE_CHECKING:
    from landscape_fast.results import Instability

_MEAN, _LIMIT = "#4477aa", "#cc3311"
_PARTS = {"train": "training", "test": "test"}


def instability_figure(found: Instability) -> Figure:
    """Mean barrier of the error against the step, with every pair as a dot."""
    places, barriers = np.arange(len(found.steps)), found.barriers.numpy()
    with own_style():
        figure = blank_figure(6.4, 4.2)
        axes = figure.add_subplot()
        axes.plot(places, barriers.mean(1), color=_MEAN, linewidth=2, marker="o", zorder=3)
        for pair in barriers.T:
            axes.plot(places, pair, ".", color=_MEAN, alpha=0.5)
        axes.axhline(CONNECTED, color=_LIMIT, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"connected below {CONNECTED:g} points",
            (1.0, CONNECTED),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            color=_LIMIT,
            fontsize=10,
        )
        axes.set_xticks(places, [f"{step:,}" for step in found.steps])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"Step at which the copies part, of {found.run_steps:,}", fontsize=12)
        axes.set_ylabel(
            f"Barrier of the {_PARTS[found.part]} error\n(percentage points)", fontsize=12
        )
        stable = found.stable_from(CONNECTED)
        axes.set_title(
            "Copies never end connected"
            if stable is None
            else f"Copies that part from step {stable:,} on end connected",
            fontsize=12,
            loc="left",
        )
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure

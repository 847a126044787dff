"""The picture of a run at the edge of stability: loss, and sharpness beside its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape_fast.plots.canvas import blank_figure, own_style

if TYPE_CHECKING:
    from landscape_fast.results import StabilityRun

_SHARPNESS, _THRESHOLD, _LOSS = "#4477aa", "#cc3311", "#222222"


def stability_figure(run: StabilityRun) -> Figure:
    """Sharpness and its threshold above, the loss of every step below."""
    with own_style():
        figure = blank_figure(7.2, 5.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        draw_sharpness(above, run)
        draw_losses(below, run)
        above.set_title(_said(run), fontsize=12, loc="left")
        above.set_xlabel("")
        above.legend(fontsize=10, frameon=False, loc="best")
    return figure


def draw_sharpness(axes: Axes, run: StabilityRun) -> None:
    """Sharpness at measured steps, and the threshold above which the optimiser is not stable."""
    steps = run.steps.numpy()
    axes.step(
        steps,
        run.thresholds.numpy(),
        where="post",
        color=_THRESHOLD,
        linewidth=1.6,
        linestyle=(0, (4, 2)),
        label="threshold of the optimiser",
    )
    axes.plot(steps, run.sharpness.numpy(), color=_SHARPNESS, linewidth=1.4, label="sharpness")
    axes.set_ylim(0.0, 1.25 * float(np.nanmax([run.thresholds.max(), run.sharpness.median()])))
    axes.set_ylabel("Largest Hessian eigenvalue", fontsize=12)
    _finish(axes)


def draw_losses(axes: Axes, run: StabilityRun) -> None:
    """The loss of every step, logarithmic."""
    losses = run.losses.numpy()
    axes.plot(np.arange(len(losses)), losses, color=_LOSS, linewidth=0.9)
    if (losses > 0).all():
        axes.set_yscale("log")
    axes.set_ylabel("Loss", fontsize=12)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.set_xlabel("Step", fontsize=12)
    axes.tick_params(labelsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _said(run: StabilityRun) -> str:
    if run.diverged:
        return f"Diverged at step {len(run.losses) - 1}"
    if run.crossing is None:
        return f"Sharpness stays below its threshold: at most {float(run.ratios.max()):.2f} of it"
    reached = f"Sharpness reaches its threshold at step {run.crossing}"
    try:
        mean, spread = run.hovering()
    except ValueError:  # only the last measurement lies there
        return reached
    return f"{reached},\nthen hovers at {mean:.2f} ± {spread:.2f} of it"

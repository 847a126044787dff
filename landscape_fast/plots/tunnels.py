"""Pictures of radial tunnels: profiles of one model, widths by hyper-parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape_fast.plots.canvas import blank_figure, own_style

if TYPE_CHECKING:
    from landscape_fast.results import RadialTunnel, TunnelTrend

_LINE, _EACH, _LIMIT = "#0072B2", "#99c4e0", "#cc3311"


def tunnel_figure(found: RadialTunnel) -> Figure:
    """Loss along the ray from the origin, and across it in every direction."""
    with own_style():
        figure = blank_figure(9.6, 4.0)
        along, across = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
        along.plot(found.scales.numpy(), found.radial_losses.numpy(), color=_LINE)
        along.plot(1.0, found.loss, "x", color=_LIMIT, markersize=9, markeredgewidth=2)
        along.set_xlabel("Multiple of the parameters", fontsize=12)
        degrees = np.degrees(found.angles.numpy())
        for row in found.losses.numpy():
            across.plot(degrees, row, color=_EACH, linewidth=0.8)
        across.plot(degrees, found.losses.mean(0).numpy(), color=_LINE, linewidth=2)
        across.set_xlabel("Angle from the ray, degrees", fontsize=12)
        if np.isfinite(found.width):
            across.axvline(np.degrees(found.width), color=_LIMIT, linewidth=1)
            across.set_title(f"Angular width {np.degrees(found.width):.1f} degrees", fontsize=12)
        for axes in (along, across):
            axes.axhline(found.threshold, color=_LIMIT, linestyle="--", linewidth=1)
            _finish(axes, "Loss")
    return figure


def trends_figure(trends: Mapping[str, TunnelTrend]) -> Figure:
    """Angular width by each hyper-parameter: every model a dot, means joined.

    Args:
        trends: One panel each, by the name of the hyper-parameter.

    Raises:
        ValueError: There is none.
    """
    if not trends:
        raise ValueError("trends is empty")
    with own_style():
        figure = blank_figure(2.6 * len(trends) + 1.0, 3.6)
        first: Axes | None = None
        for index, (name, trend) in enumerate(trends.items(), start=1):
            axes = figure.add_subplot(1, len(trends), index, sharey=first)
            first = first or axes
            _panel(axes, trend)
            axes.set_title(f"rank correlation {trend.rank_correlation:+.2f}", fontsize=11)
            axes.set_xlabel(name, fontsize=12)
            _finish(axes, "Angular width, degrees" if index == 1 else "")
    return figure


def _panel(axes: Axes, trend: TunnelTrend) -> None:
    settings = sorted(set(trend.settings.tolist()))
    # Settings at equal distances: they go up by factors, and one of them may be 0.
    place = {setting: index for index, setting in enumerate(settings)}
    widths = np.degrees(trend.widths.numpy())
    spots = [place[setting] for setting in trend.settings.tolist()]
    axes.plot(spots, widths, "o", color=_EACH, markersize=5)
    means = np.degrees([mean for _, mean, _ in trend.means])
    axes.plot(range(len(settings)), means, color=_LINE, marker="o", linewidth=2)
    axes.set_xticks(range(len(settings)), [f"{setting:g}" for setting in settings])
    axes.set_xlim(-0.4, len(settings) - 0.6)


def _finish(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, fontsize=12)
    axes.tick_params(labelsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

"""The picture of a loss surface: a curve, or contours with their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from landscape_fast.plots.canvas import blank_figure, own_style

if TYPE_CHECKING:
    from landscape_fast.results import Surface

_LEVELS = 14
_CURVE, _MARK = "#4477aa", "#cc3311"
_DECADES = 6  # of the loss that colours span at most, from the top


def surface_figure(surface: Surface) -> Figure:
    """A curve for one axis; filled contours at logarithmic levels for two.

    The model is a cross, other models are dots, joined in order if they are a run. Where the loss
    is not finite the picture is hatched.

    Raises:
        ValueError: The surface has more than two axes.
    """
    count = len(surface.coordinates)
    if count > 2:
        raise ValueError(f"a surface of {count} axes has no picture; take a slice of its values")
    with own_style():
        figure = blank_figure(6.4, 4.2 if count == 1 else 5.4)
        axes = figure.add_subplot()
        (_curve if count == 1 else _contours)(axes, surface)
        axes.set_xlabel(_label(surface, 0), fontsize=12)
        axes.tick_params(labelsize=10)
    return figure


def _label(surface: Surface, axis: int) -> str:
    share = surface.shares[axis]
    explained = "" if np.isnan(share) else f"; {share:.0%} of the run"
    return f"Direction {axis + 1} (one unit: norm {surface.lengths[axis]:.3g}{explained})"


def _curve(axes: Axes, surface: Surface) -> None:
    x, y = np.array(surface.coordinates[0]), surface.values.numpy()
    axes.plot(x, y, color=_CURVE, marker=".", markersize=4, linewidth=1.2)
    axes.plot(0.0, surface.at_origin, "x", color=_MARK, markersize=9, markeredgewidth=2)
    for wrong in x[~np.isfinite(y)]:
        axes.axvspan(wrong, wrong, color="0.6", linewidth=2)
    finite = y[np.isfinite(y) & (y > 0)]
    if len(finite) and finite.max() > 100 * finite.min():
        axes.set_yscale("log")
    axes.set_ylabel("Loss", fontsize=12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _contours(axes: Axes, surface: Surface) -> None:
    x, y = (np.array(axis) for axis in surface.coordinates)
    values = np.ma.masked_invalid(surface.values.numpy().T)
    axes.patch.set(facecolor="white", hatch="////", edgecolor="0.8")
    axes.set_ylabel(_label(surface, 1), fontsize=12)
    if values.count():
        _filled(axes, x, y, values)
    axes.plot(0.0, 0.0, "x", color=_MARK, markersize=10, markeredgewidth=2.4, zorder=5)
    marks = surface.points.numpy()
    if len(marks):
        run = bool(np.isfinite(surface.shares).all())
        if run:
            axes.plot(*marks.T, color=_MARK, linewidth=0.8, zorder=4)
        others = marks[(marks != 0.0).any(1)]
        axes.plot(*others.T, "o", color=_MARK, markersize=3.5 if run else 6, zorder=5)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])


def _filled(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], values: Any) -> None:
    low, high = float(values.min()), float(values.max())
    logarithmic = low > 0 and high > 3 * low
    if logarithmic:
        low = max(low, high * 10.0**-_DECADES)
        levels = np.geomspace(low, high, _LEVELS)
        norm: Normalize = LogNorm(low, high)
    else:
        high = high if high > low else low + max(abs(low), 1.0) * 1e-9
        levels = np.linspace(low, high, _LEVELS)
        norm = Normalize(low, high)
    levels[[0, -1]] = np.nextafter(levels[0], -np.inf), np.nextafter(levels[-1], np.inf)
    filled = axes.contourf(x, y, values, levels, norm=norm, cmap="viridis", extend="both")
    lines = axes.contour(x, y, values, levels[1:-1:2], colors="white", linewidths=0.7)
    axes.clabel(lines, fmt=lambda value: f"{value:.3g}", fontsize=8)
    assert axes.figure is not None
    bar = axes.figure.colorbar(filled, ax=axes, pad=0.02)
    bar.ax.set_yticks([float(level) for level in levels[1:-1:2]])
    bar.ax.set_yticklabels([f"{level:.3g}" for level in levels[1:-1:2]])
    bar.ax.minorticks_off()
    bar.set_label("Loss", fontsize=11)

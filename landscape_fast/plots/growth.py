"""Pictures of how the loss grows with distance: rises, exponents, effective curvature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape_fast.plots.canvas import blank_figure, own_style

if TYPE_CHECKING:
    from landscape_fast.results import Growth

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777", "#222222")
_GUIDE = {"color": "0.35", "linewidth": 1.2, "linestyle": (0, (4, 3)), "zorder": 1}


def growth_figure(growth: Growth, names: tuple[str, ...] | None = None) -> Figure:
    """Rises, local exponents and effective curvature beside each other, a line per direction.

    Raises:
        ValueError: ``names`` are not as many as directions.
    """
    with own_style():
        figure = blank_figure(13.0, 4.2)
        left, middle, right = figure.subplots(1, 3)
        draw_rises(left, growth, names)
        draw_exponents(middle, growth, names)
        draw_curvatures(right, growth, names)
        left.legend(fontsize=9, frameon=False)
    return figure


def draw_rises(axes: Axes, growth: Growth, names: tuple[str, ...] | None = None) -> None:
    """Rise against distance, both logarithmic, and the quadratic of the sharpest direction."""
    radii, rises = growth.radii.numpy(), growth.rises.numpy()
    shown = np.where(np.isfinite(rises) & (rises > 3 * growth.floor), rises, np.nan)
    for row, name, colour in zip(shown, _named(growth, names), _colours(growth), strict=True):
        axes.plot(radii, row, color=colour, linewidth=1.6, label=name)
    axes.set_yscale("log")
    sharpest = float(growth.curvatures.max())
    if np.isfinite(shown).any():
        low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
        axes.set_ylim(low / 2, high * 3)
        if sharpest > 0:
            guide = sharpest * radii**2 / 2
            inside = (guide >= low) & (guide <= 3 * high)
            axes.plot(radii[inside], guide[inside], label="quadratic", **_GUIDE)  # type: ignore[arg-type]
    _finish(axes, "Rise of the loss")


def draw_exponents(axes: Axes, growth: Growth, names: tuple[str, ...] | None = None) -> None:
    """Local exponent against distance; shaded where growth is slower than quadratic."""
    radii, exponents = growth.radii.numpy(), growth.local_exponents().numpy()
    axes.axhspan(0.0, 2.0, color="#eeeeee", zorder=0)
    axes.axhline(2.0, **_GUIDE)  # type: ignore[arg-type]
    for row, name, colour in zip(exponents, _named(growth, names), _colours(growth), strict=True):
        axes.plot(radii, row, color=colour, linewidth=1.6, label=name)
    finite = exponents[np.isfinite(exponents)]
    top = float(finite.max()) if len(finite) else 2.0
    axes.set_ylim(0.0, min(max(2.5, 1.1 * top), 6.0))
    axes.text(0.02, 0.03, "slower than quadratic", transform=axes.transAxes, fontsize=10)
    _finish(axes, "Exponent d ln(rise) / d ln(distance)")


def draw_curvatures(axes: Axes, growth: Growth, names: tuple[str, ...] | None = None) -> None:
    """Effective curvature against distance, both logarithmic: a level stretch is a scale."""
    radii, values = (part.numpy() for part in growth.effective_curvatures())
    shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    for row, name, colour in zip(shown, _named(growth, names), _colours(growth), strict=True):
        axes.plot(radii, row, color=colour, linewidth=1.6, label=name)
    axes.set_yscale("log")
    _finish(axes, "Effective curvature (slope / distance)")


def _finish(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("Distance from the model (l2, in weights)", fontsize=12)
    axes.set_ylabel(label, fontsize=12)
    axes.tick_params(labelsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _named(growth: Growth, names: tuple[str, ...] | None) -> tuple[str, ...]:
    count = len(growth.sides)
    if names is None:
        return tuple(f"direction {index + 1}" for index in range(count))
    if len(names) != count:
        raise ValueError(f"names has {len(names)} entries for {count} directions")
    return names


def _colours(growth: Growth) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(growth.sides))]

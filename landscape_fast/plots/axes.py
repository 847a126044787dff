"""Drawing on one pair of axes: cells, colour bars, knobs as ticks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import NDArray

from landscape_fast.plots.boundaries import draw_boundaries
from landscape_fast.plots.grid import Axis, Grid
from landscape_fast.plots.quantities import Quantity, Scales

_CHARACTER, _LINE = 6.2, 12.0  # points that a tick label needs per character, and in height


def draw_quantity(
    axes: Axes,
    grid: Grid,
    quantity: Quantity,
    scales: Scales,
    *,
    phases: NDArray[np.str_] | None,
) -> None:
    """Draw one quantity's cells, its colour bar and, over it, the boundaries between ``phases``.

    Cells without a value stay hatched; a panel without any value says why.
    """
    frame(axes, grid)
    axes.set_title(quantity.title, fontsize=12)
    if quantity.column not in grid:
        note(axes, f"not measured:\nno column {quantity.column}")
        return
    values = grid.numbers(quantity.column)
    finite = values[np.isfinite(values)]
    if not len(finite):
        note(axes, f"column {quantity.column}\nholds no finite value")
        return
    axes.set_title(f"{quantity.title}\n{quantity.says(grid, quantity.column)}", fontsize=12)
    low, high = quantity.range(values, scales)
    cells = axes.pcolormesh(
        grid.load.edges,
        grid.temperature.edges,
        np.ma.masked_invalid(values),
        cmap=colormaps[quantity.colours],
        vmin=low,
        vmax=high,
        edgecolors="none",
    )
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    beyond = int((finite < low).any()), int((finite > high).any())
    assert axes.figure is not None
    bar = axes.figure.colorbar(cells, ax=axes, extend=extend[beyond], pad=0.02)
    bar.set_label(quantity.unit, fontsize=11)
    bar.ax.tick_params(labelsize=10)
    if phases is not None:
        draw_boundaries(axes, grid, phases, width=1.8)


def frame(axes: Axes, grid: Grid) -> None:
    """Set up scales, ticks at the grid's own values, labels, and the look of absent cells."""
    axes.set_xscale("log" if grid.load.scale == "log" else "linear")
    axes.set_yscale("log" if grid.temperature.scale == "log" else "linear")
    width, height = size_in_points(axes)
    _ticks(axes.xaxis, grid.load, [_CHARACTER * len(text) / width for text in grid.load.ticks])
    _ticks(axes.yaxis, grid.temperature, [_LINE / height] * len(grid.temperature.ticks))
    axes.set_xlim(grid.load.edges[0], grid.load.edges[-1])
    bottom, top = grid.temperature.edges[0], grid.temperature.edges[-1]
    axes.set_ylim(*((top, bottom) if grid.hot == "small" else (bottom, top)))
    axes.set_xlabel(grid.load.label, fontsize=12)
    axes.set_ylabel(grid.temperature.label + grid.at_the_top, fontsize=12)
    axes.tick_params(labelsize=10, length=2)
    axes.patch.set(facecolor="white", hatch="////", edgecolor="0.8")


def note(axes: Axes, text: str) -> None:
    """Say in the middle of the axes why they are empty."""
    box = {"facecolor": "white", "edgecolor": "0.6", "boxstyle": "round,pad=0.5"}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", bbox=box)


def size_in_points(axes: Axes) -> tuple[float, float]:
    """Width and height of the axes, as far as known before the layout is settled."""
    box = axes.get_position(original=True)
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = figure.get_size_inches()
    return 72.0 * float(inches[0]) * box.width, 72.0 * float(inches[1]) * box.height


def _ticks(axis: Any, knob: Axis, sizes: list[float]) -> None:
    """Label every value of the knob, but for labels that would touch; sizes are axis shares."""
    positions, edges = knob.positions
    share = (positions - edges[0]) / (edges[-1] - edges[0])
    shown: list[int] = []
    for i, size in enumerate(sizes):
        if not shown or share[i] - share[shown[-1]] >= (size + sizes[shown[-1]]) / 2.0:
            shown.append(i)
    axis.set_major_locator(FixedLocator(knob.centres[shown].tolist()))
    axis.set_major_formatter(FixedFormatter([knob.ticks[i] for i in shown]))
    axis.set_minor_locator(NullLocator())

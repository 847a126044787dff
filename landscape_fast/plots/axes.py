"""Drawing on one pair of axes: cells, knobs as ticks, boundaries between phases."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import NDArray

from landscape_fast.plots.grid import Axis, Grid
from landscape_fast.plots.quantities import Quantity, Scales

Number = NDArray[np.float64]

# Which phases stand on the first side of each of the two sharp boundaries, and on the other.
SHARP_FLAT = frozenset({"I", "II"}), frozenset({"III", "IV-A", "IV-B"})
POOR_WELL = frozenset({"I", "III"}), frozenset({"II", "IV-A", "IV-B"})

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
    axes.set_title(quantity.title, fontsize=13)
    if quantity.column not in grid:
        note(axes, f"not measured:\nno column {quantity.column}")
        return
    values = grid.numbers(quantity.column)
    finite = values[np.isfinite(values)]
    if not len(finite):
        note(axes, f"column {quantity.column}\nholds no finite value")
        return
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
        draw_boundaries(axes, grid, phases, width=1.5)


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
    axes.set_ylabel(f"{grid.temperature.label}  (hot at the top)", fontsize=12)
    axes.tick_params(labelsize=10, length=2)
    axes.patch.set(facecolor="white", hatch="////", edgecolor="0.8")


def draw_boundaries(axes: Axes, grid: Grid, phases: NDArray[np.str_], *, width: float) -> None:
    """Draw the lines between sharp and flat (solid) and poorly and well connected (dashed).

    A line runs between two neighbouring cells on its two sides; an undecided or absent cell has no
    side. The dashes are narrower than the solid line, so both are seen where they coincide.
    """
    solid, dashes = border(grid, _side(phases, SHARP_FLAT)), border(grid, _side(phases, POOR_WELL))
    for segments, colour, style, share in (
        (solid, "white", "solid", 1.5),
        (dashes, "white", "solid", 1.1),
        (solid, "black", "solid", 1.0),
        (dashes, "white", "solid", 0.6),
        (dashes, "black", (0, (3, 1.5)), 0.6),
    ):
        lines = LineCollection(segments, colors=colour, linewidths=share * width, zorder=3)
        lines.set(linestyle=style, capstyle="butt")
        axes.add_collection(lines, autolim=False)


def border(grid: Grid, side: NDArray[np.int_]) -> list[Number]:
    """Edges between neighbouring cells on different sides (1 and -1; 0 has none)."""
    x, y = grid.load.edges, grid.temperature.edges
    rows, cols = np.nonzero(side[:, :-1] * side[:, 1:] < 0)
    upright = [
        np.array([[x[c + 1], y[r]], [x[c + 1], y[r + 1]]]) for r, c in zip(rows, cols, strict=True)
    ]
    rows, cols = np.nonzero(side[:-1] * side[1:] < 0)
    level = [
        np.array([[x[c], y[r + 1]], [x[c + 1], y[r + 1]]]) for r, c in zip(rows, cols, strict=True)
    ]
    return upright + level


def _side(
    phases: NDArray[np.str_], sides: tuple[frozenset[str], frozenset[str]]
) -> NDArray[np.int_]:
    """1 for phases on the first side of a boundary, -1 on the second, 0 for neither."""
    first, second = (np.isin(phases, sorted(side)).astype(np.int_) for side in sides)
    return first - second


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

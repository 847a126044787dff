"""The lines between phases, as contours of the quantities that decide them."""

from __future__ import annotations

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from landscape_fast.plots.grid import Axis, Grid

Number = NDArray[np.float64]

# Which phases stand above each boundary's threshold, and below; others have no side.
_SIDES = {
    "sharpness": (("I", "II"), ("III", "IV-A", "IV-B")),
    "connectivity": (("II", "IV-A", "IV-B"), ("I", "III")),
    "similarity": (("IV-B",), ("IV-A",)),
}
_DASHES = {"sharpness": (0.0, None), "connectivity": (0.0, (3, 1.5)), "similarity": (0.0, (1, 1))}
_WIDTHS = {"sharpness": 1.0, "connectivity": 0.6, "similarity": 0.6}  # one shows over the other
_WORDS = {
    "sharpness": "between sharp and flat",
    "connectivity": "between poorly and well connected",
    "similarity": "between dissimilar and similar",
}


def contours(grid: Grid, phases: NDArray[np.str_], quantity: str) -> list[Number]:
    """Where a quantity crosses its threshold, between the centres of cells on either side.

    Interpolated on the scale of the drawing, and drawn on to the border of the outer cells. The
    quantity is the margin that :func:`landscape_fast.study.taxonomy.classify` adds to the table;
    for a table without it, halfway between cells. Cells that are undecided, or that the
    boundary does not concern, have no side, and no line goes through them.

    Args:
        grid: The cells.
        phases: (rows, cols) phase of each cell.
        quantity: "sharpness", "connectivity" or "similarity".

    Returns:
        Lines of (n, 2) load and temperature.
    """
    above, below = (np.isin(phases, side) for side in _SIDES[quantity])
    margin = f"{quantity}_margin"
    side = np.where(above, 1.0, np.where(below, -1.0, np.nan))
    if margin in grid:
        # A cell exactly on the threshold keeps the side that its phase says.
        values = grid.numbers(margin)
        side = np.where(values * side > 0.0, values, side * np.finfo(np.float64).tiny)
    heights = np.ma.masked_invalid(np.pad(side, 1, mode="edge"))
    lines = contour_generator(_padded(grid.load), _padded(grid.temperature), heights).lines(0.0)
    scale = grid.load.scale == "log", grid.temperature.scale == "log"
    return [
        np.column_stack([np.exp(x) if log else x for x, log in zip(line.T, scale, strict=True)])
        for line in lines
        if isinstance(line, np.ndarray)
    ]


def draw_boundaries(axes: Axes, grid: Grid, phases: NDArray[np.str_], *, width: float) -> None:
    """Draw the boundaries: solid by sharpness, dashed by connectivity, dotted by similarity.

    The dashes are narrower than the solid line, so both are seen where they coincide.
    """
    for quantity, dashes in _DASHES.items():
        lines = contours(grid, phases, quantity)
        share = _WIDTHS[quantity] * width
        for colour, thick, style in (
            ("white", share + 0.45 * width, (0.0, None)),
            ("black", share, dashes),
        ):
            drawn = LineCollection(lines, colors=colour, linewidths=thick, zorder=3)
            drawn.set(linestyle=style, capstyle="butt")
            axes.add_collection(drawn, autolim=False)


def legend_lines(phases: NDArray[np.str_], *, width: float) -> list[Line2D]:
    """Keys for the boundaries that a map of these phases can have."""
    keys = []
    for quantity, dashes in _DASHES.items():
        if all(np.isin(phases, side).any() for side in _SIDES[quantity]):
            keys.append(Line2D([], [], color="black", linewidth=_WIDTHS[quantity] * width))
            keys[-1].set(linestyle=dashes, label=_WORDS[quantity])
    return keys


def _padded(axis: Axis) -> Number:
    """Centres of the cells and the two outer borders, on the scale of the drawing."""
    centres, edges = axis.positions
    return np.concatenate([edges[:1], centres, edges[-1:]])

"""The phase map: one colour and one name per cell, its certainty, and a legend in words."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from landscape_fast.plots.axes import frame, size_in_points
from landscape_fast.plots.boundaries import draw_boundaries, legend_lines
from landscape_fast.plots.grid import Grid
from landscape_fast.plots.titles import phases_say

#: Okabe and Ito's colours, told apart with every common colour vision: sharp phases are warm, flat
#: ones cool.
COLOURS = {
    "I": "#D55E00",
    "II": "#E69F00",
    "III": "#0072B2",
    "IV-A": "#56B4E9",
    "IV-B": "#009E73",
    "undecided": "#C8C8C8",
}
MEANING = {
    "I": "sharp, poorly connected",
    "II": "sharp, well connected",
    "III": "flat, poorly connected",
    "IV-A": "flat, connected, dissimilar",
    "IV-B": "flat, connected, similar",
    "undecided": "not measured or not converged",
}

# A cell in fewer of the replicates than these has ever more white stripes. A colour that faded with
# doubt would turn into that of another phase.
_DOUBTFUL, _STRIPES = (0.5, 0.75, 0.9), ("////", "///", "//", None)


def draw_phases(axes: Axes, grid: Grid, *, phase: str, probability: str) -> None:
    """Draw the phase of every cell; stripes where it is in doubt.

    Absent cells stay white, undecided ones are grey and cross-hatched.
    """
    frame(axes, grid)
    axes.patch.set(facecolor="white", hatch=None)
    phases = grid.names(phase)
    said = phases_say(grid, phases)
    width, _ = size_in_points(axes)
    # A letter is a little over half as wide as it is high.
    axes.set_title(f"Phases\n{said}", fontsize=min(14.0, width / (0.55 * len(said))))
    axes.tick_params(labelsize=12)
    sure = grid.numbers(probability) if probability in grid else np.full(phases.shape, np.nan)
    sizes = _font_sizes(axes, grid, lines=2 if np.isfinite(sure).any() else 1)
    for row, column in np.argwhere(phases != ""):
        place = row, column
        _draw_cell(axes, grid, place, phases[place], sure[place], sizes[place])
    draw_boundaries(axes, grid, phases, width=3.6)


def draw_legend(axes: Axes, grid: Grid, *, phase: str, probability: str) -> None:
    """Explain colours, lines and numbers of the phase map, with the count of each phase."""
    axes.set_axis_off()
    phases = grid.names(phase)
    entries: list[Patch | Line2D] = []
    for name, colour in COLOURS.items():
        count = int((phases == name).sum())
        if name == "undecided" and not count:
            continue
        label = f"{name}: {MEANING[name]} ({count})"
        hatch = "xxx" if name == "undecided" else None
        entries.append(Patch(facecolor=colour, edgecolor="0.4", hatch=hatch, label=label))
    entries += legend_lines(phases, width=3.6)
    said = _thresholds(grid)
    if probability in grid:
        said.append("%: bootstrap replicates in this\nphase, if not all; stripes: doubt")
    entries += [Line2D([], [], linestyle="none", label=line) for line in said]
    axes.legend(
        handles=entries,
        loc="center left",
        fontsize=12,
        frameon=False,
        borderaxespad=0.0,
        handlelength=2.4,
        labelspacing=0.6,
    )


def _draw_cell(
    axes: Axes, grid: Grid, place: tuple[int, int], name: str, sure: float, size: float
) -> None:
    """One cell: its colour, its name, and how sure it is."""
    row, column = place
    x, y = grid.load, grid.temperature
    colour = np.array(to_rgb(COLOURS[name]))
    doubt = _STRIPES[int(np.searchsorted(_DOUBTFUL, 1.0 if np.isnan(sure) else sure, "right"))]
    corner = (x.edges[column], y.edges[row])
    width, height = x.edges[column + 1] - corner[0], y.edges[row + 1] - corner[1]
    hatch = "xxx" if name == "undecided" else doubt
    edge = "0.6" if name == "undecided" else "white"
    axes.add_patch(
        Rectangle(
            corner, width, height, facecolor=colour, edgecolor=edge, hatch=hatch, linewidth=0.5
        )
    )
    ink = "black" if np.dot(colour, (0.299, 0.587, 0.114)) > 0.45 else "white"
    text = "?" if name == "undecided" else name
    if round(100 * np.nan_to_num(sure, nan=1.0)) < 100 and name != "undecided":
        text += f"\n{100 * sure:.0f}%"
    said = axes.text(
        x.middles[column], y.middles[row], text, ha="center", va="center", color=ink, fontsize=size
    )
    # Boundaries run under the name.
    said.set(zorder=4, path_effects=[withStroke(linewidth=3.0, foreground=tuple(colour))])


def _font_sizes(axes: Axes, grid: Grid, *, lines: int) -> NDArray[np.float64]:
    """(rows, cols) points at which four characters on ``lines`` lines fit each cell.

    One size for all but the cells that are smaller than most.
    """
    width, height = size_in_points(axes)
    across = width * grid.load.shares / 2.8
    up = height * grid.temperature.shares / (1.35 * lines)
    usual = np.minimum(min(np.median(across), np.median(up)), 18.0)
    return np.maximum(np.minimum(np.minimum(across[None], up[:, None]), usual), 4.0)


def _thresholds(grid: Grid) -> list[str]:
    """The thresholds that the table says were used, in words."""
    said = {
        "sharpness": "sharp: log sharpness > {:.4g}",
        "connectivity": "poorly connected: mc < {:.4g} points",
        "similarity": "similar: CKA ≥ {:.4g}",
    }
    used = {quantity: grid.threshold(quantity) for quantity in said}
    return [text.format(used[name]) for name, text in said.items() if used[name] is not None]

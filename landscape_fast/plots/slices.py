"""Cuts through a grid: accuracy and sharpness along one knob while the other stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import NDArray

from landscape_fast.plots.canvas import blank_figure, own_style
from landscape_fast.plots.grid import Axis, Grid, Hot, arrange
from landscape_fast.plots.titles import factor

Number = NDArray[np.float64]

_LINES = 5  # shown at most, spread over the values of the knob that stays
_MARKS = "osD^v"  # beside the colours, for readers who do not see them
_ACCURACY, _TRACE = "test_acc_mean", "log_hessian_trace"


@dataclass(frozen=True, slots=True)
class Dip:
    """Where a line falls and rises again."""

    line: int  # index of the line
    point: int  # index on the line, of the bottom
    depth: float  # below the lower of the two heights on its sides
    stderr: float  # of that depth; nan where the spread between runs is unknown


def slices(
    table: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    hot: Hot | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Draw test accuracy and, beside it, the Hessian trace along each knob at values of the other.

    Double descent is a dip of the accuracy. The title names the deepest one among all cells, also
    those of lines that are not shown, with its standard error over runs, if it is twice as deep as
    that. Being the deepest of many, it is so by chance more often than one dip alone.

    Args:
        table: One row per cell, as in :func:`landscape_fast.plots.panels`; needs the columns
            ``test_acc_mean`` and ``log_hessian_trace``, of which one may be left out. Bars are
            standard deviations between runs, from ``test_acc_std`` and ``hessian_trace_std``.
        load: Column of the load-like knob.
        temperature: Column of the temperature-like knob.
        hot: As in :func:`landscape_fast.plots.panels`.
        labels: As in :func:`landscape_fast.plots.panels`.

    Returns:
        A figure: load along the upper row, temperature along the lower one.

    Raises:
        TypeError: As :func:`landscape_fast.plots.panels`.
        ValueError: As there, or the table has no number in either column.

    References:
        Yang et al. (2021), arXiv:2107.11228, figure 4; Nakkiran et al. (2020), arXiv:1912.02292.

    Example:
        >>> figure = slices({"width": [2, 4, 8], "batch_size": [16, 16, 16],
        ...                  "test_acc_mean": [80.0, 75.0, 90.0]})
        >>> figure.axes[0].get_title().splitlines()[1]
        'deepest dip 5 points at width 4, batch size 16'
    """
    grid = arrange(table, load=load, temperature=temperature, hot=hot, labels=labels)
    columns = [name for name in (_ACCURACY, _TRACE) if grid.any_number(name)]
    if not columns:
        raise ValueError(f"table has no number in column {_ACCURACY!r} nor in {_TRACE!r}")
    with own_style():
        figure = blank_figure(5.4 * len(columns) + 1.8, 7.6)
        parts = figure.subfigures(2, 1, squeeze=False)
        for row, part in enumerate(parts[:, 0]):
            places = part.add_gridspec(1, len(columns))
            for place, column in zip(places, columns, strict=True):
                axes = part.add_subplot(place)
                _draw(axes, grid, column, transposed=row == 1)
            still = grid.load if row else grid.temperature
            part.legend(
                *axes.get_legend_handles_labels(),
                title=still.short.capitalize(),
                loc="outside right center",
                frameon=False,
                fontsize=11,
                title_fontsize=11,
            )
    return figure


def deepest_dip(values: Number, deviations: Number | None = None) -> Dip | None:
    """Find the deepest dip among lines: the lower of the two sides' maxima minus the point.

    Args:
        values: (lines, points), NaN where there is none.
        deviations: (lines, points) standard errors of the values.

    Returns:
        None where no line dips.

    Example:
        >>> dip = deepest_dip(np.array([[3.0, 1.0, 2.5, 4.0]]), np.full((1, 4), 0.3))
        >>> (dip.line, dip.point, dip.depth, round(dip.stderr, 3))
        (0, 1, 2.0, 0.424)
    """
    best: Dip | None = None
    for line, heights in enumerate(values):
        known = np.flatnonzero(np.isfinite(heights))
        for at in range(1, len(known) - 1):
            left = known[:at][heights[known[:at]].argmax()]
            right = known[at + 1 :][heights[known[at + 1 :]].argmax()]
            side = left if heights[left] <= heights[right] else right
            depth = float(heights[side] - heights[known[at]])
            if depth > (best.depth if best else 0.0):
                errors = (np.nan, np.nan) if deviations is None else deviations[line]
                stderr = np.nan if deviations is None else np.hypot(errors[side], errors[known[at]])
                best = Dip(line, int(known[at]), depth, float(stderr))
    return best


def _draw(axes: Axes, grid: Grid, column: str, *, transposed: bool) -> None:
    """One column of the table along one knob, a line for each of some values of the other."""
    values, spread = grid.numbers(column), _spread(grid, column)
    along, still = (grid.temperature, grid.load) if transposed else (grid.load, grid.temperature)
    rows, bars = (values.T, spread.T) if transposed else (values, spread)
    chosen = np.unique(np.linspace(0, len(rows) - 1, _LINES).round().astype(int))
    for order, index in enumerate(chosen):
        share = order / max(len(chosen) - 1, 1)
        axes.errorbar(
            along.centres,
            rows[index],
            yerr=np.nan_to_num(bars[index]),
            color=colormaps["viridis"](0.88 * share),
            marker=_MARKS[order],
            markersize=5,
            linewidth=1.6,
            elinewidth=0.8,
            label=still.ticks[index],
        )
    _frame(axes, along)
    if column == _ACCURACY:
        axes.set_ylabel("Test accuracy (percent)", fontsize=12)
        axes.set_title(f"Test accuracy\n{_dip_in_words(grid, transposed)}", fontsize=11.5)
    else:
        axes.set_ylabel("Hessian trace (natural log)", fontsize=12)
        axes.set_title(f"Hessian trace\n{factor(grid, column)}", fontsize=11.5)


def _dip_in_words(grid: Grid, transposed: bool) -> str:
    """The deepest dip of the accuracy along one knob, for a title."""
    values, spread = grid.numbers(_ACCURACY), _spread(grid, _ACCURACY)
    runs = grid.numbers("n_seeds") if "n_seeds" in grid else np.full(values.shape, np.nan)
    errors = spread / np.sqrt(runs)
    dip = deepest_dip(values.T, errors.T) if transposed else deepest_dip(values, errors)
    if dip is None:
        along = grid.temperature if transposed else grid.load
        return f"no dip along {along.short}"
    row, column = (dip.point, dip.line) if transposed else (dip.line, dip.point)
    depth = f"{dip.depth:.2g}" + (f" ± {dip.stderr:.2g}" if np.isfinite(dip.stderr) else "")
    if dip.depth < 2.0 * dip.stderr:
        return f"no dip beyond its error (deepest {depth} points)"
    return f"deepest dip {depth} points at {grid.place(row, column)}"


def _spread(grid: Grid, column: str) -> Number:
    """Standard deviation between runs of a column; of a logarithm to first order."""
    nothing = np.full(grid.numbers(column).shape, np.nan)
    if column == _ACCURACY:
        return grid.numbers("test_acc_std") if "test_acc_std" in grid else nothing
    if not {"hessian_trace_std", "hessian_trace_mean"} <= set(grid.columns):
        return nothing
    return np.asarray(grid.numbers("hessian_trace_std") / grid.numbers("hessian_trace_mean"))


def _frame(axes: Axes, along: Axis) -> None:
    axes.set_xscale("log" if along.scale == "log" else "linear")
    every = max(1, -(-len(along.values) // 9))
    axes.xaxis.set_major_locator(FixedLocator(along.centres[::every].tolist()))
    axes.xaxis.set_major_formatter(FixedFormatter(along.ticks[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(along.label, fontsize=12)
    axes.tick_params(labelsize=10)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

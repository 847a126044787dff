"""What a picture shows, in a few words for its title."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landscape_fast.plots.grid import Grid

Number = NDArray[np.float64]


def highest(grid: Grid, column: str) -> str:
    """The largest value and its cell.

    Example:
        >>> from landscape_fast.plots.grid import arrange
        >>> table = {"width": [2, 4], "batch_size": [8, 8], "test_acc_mean": [71.5, 90.2]}
        >>> highest(arrange(table, load="width", temperature="batch_size", hot=None),
        ...         "test_acc_mean")
        'highest 90.2 at width 4, batch size 8'
    """
    values = grid.numbers(column)
    place = np.unravel_index(np.nanargmax(values), values.shape)
    return f"highest {values[place]:.3g} at {grid.place(int(place[0]), int(place[1]))}"


def lowest(grid: Grid, column: str) -> str:
    """The smallest value and its cell."""
    values = grid.numbers(column)
    place = np.unravel_index(np.nanargmin(values), values.shape)
    return f"lowest {values[place]:.2g} at {grid.place(int(place[0]), int(place[1]))}"


def factor(grid: Grid, column: str) -> str:
    """How many times the largest is the smallest, of a column of natural logarithms."""
    values = np.exp(grid.numbers(column))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"from {low:.3g} to {high:.3g}, {high / low:,.0f}-fold"


def barriers(grid: Grid, column: str) -> str:
    """In how many cells connectivity is below its threshold, 0 where the table does not say it."""
    values = grid.numbers(column)
    threshold = grid.threshold("connectivity")
    known = np.isfinite(values)
    count = int((values[known] < (0.0 if threshold is None else threshold)).sum())
    depth = max(0.0, -float(np.nanmin(values)))
    above = f" above {-threshold:g} points" if threshold else ""
    return f"barrier{above} in {count} of {known.sum()} cells, up to {depth:.3g}"


def phases_say(grid: Grid, phases: NDArray[np.str_]) -> str:
    """In which phase the best test accuracy lies; without accuracies, which phase is largest."""
    if grid.any_number("test_acc_mean"):
        values = grid.numbers("test_acc_mean")
        row, column = (int(i) for i in np.unravel_index(np.nanargmax(values), values.shape))
        name = str(phases[row, column])
        where = "in an undecided cell" if name == "undecided" else f"in {name}"
        return (
            f"best test accuracy, {values[row, column]:.1f} percent, {where}: "
            f"{grid.place(row, column)}"
        )
    names, counts = np.unique(phases[phases != ""], return_counts=True)
    return f"most cells are {names[counts.argmax()]}: {counts.max()} of {counts.sum()}"

"""Boundaries between phases as lines: where a quantity crosses its threshold between cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_fast.study.table import column, columns_of, numbers

Number = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Boundary:
    """One line of a boundary."""

    quantity: str  # "sharpness", "connectivity" or "similarity"
    threshold: float  # in the quantity's unit
    points: Number  # (p, 2) load and temperature, in the knobs' units; closed if first equals last


def boundaries(
    table: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    sharpness: str = "log_hessian_trace",
    connectivity: str = "mc_train_err",
    similarity: str = "cka_softmax_mean",
) -> list[Boundary]:
    """Trace the boundaries of a classified table as contours through its grid of cells.

    Values are interpolated between neighbouring cells, in the logarithm of a knob whose values are
    all positive. Connectivity is interpolated as sign(mc) log(1 + |mc|), as barriers range over
    orders of magnitude. A contour ends at cells without a value and at ``undecided`` ones, and that
    of similarity runs inside phase IV only.

    Args:
        table: From :func:`~landscape_fast.study.taxonomy.classify`, with its columns ``phase`` and
            ``..._threshold``; one row per cell.
        load: Column of the load-like knob.
        temperature: Column of the temperature-like knob.
        sharpness: Column of log sharpness.
        connectivity: Column of mode connectivity.
        similarity: Column of CKA.

    Returns:
        Lines of sharpness, connectivity and similarity, in this order; none where a quantity
        crosses its threshold nowhere, or the grid has a single load or temperature.

    Raises:
        ValueError: A column is missing, or two rows are the same cell.
        ImportError: contourpy is not installed.

    References:
        contourpy, https://contourpy.readthedocs.io, for marching squares.

    Example:
        >>> cells = {"width": [2, 8, 2, 8], "batch_size": [16, 16, 64, 64],
        ...          "log_hessian_trace": [7.0, 7.0, 5.0, 5.0], "mc_train_err": [0.0] * 4,
        ...          "cka_softmax_mean": [0.5] * 4}
        >>> from landscape_fast.study.taxonomy import classify
        >>> (line,) = boundaries(classify(cells, sharpness_threshold=6.0))
        >>> line.quantity, sorted(line.points.round(3).tolist())
        ('sharpness', [[2.0, 32.0], [8.0, 32.0]])
    """
    try:
        from contourpy import contour_generator
    except ImportError as error:
        error.add_note("boundaries needs contourpy: pip install 'landscape_fast[study]'")
        raise
    columns = columns_of(table)
    phase = column(columns, "phase", argument="table")
    knobs = [numbers(columns, name, argument="table") for name in (load, temperature)]
    axes, places = zip(*(np.unique(knob, return_inverse=True) for knob in knobs), strict=True)
    if len(set(zip(*(place.tolist() for place in places), strict=True))) < len(phase):
        raise ValueError(f"table: two rows have the same {load} and {temperature}")
    if min(len(axis) for axis in axes) < 2:
        return []
    logarithmic = [bool((axis > 0).all()) for axis in axes]
    x, y = (np.log(a) if by_log else a for a, by_log in zip(axes, logarithmic, strict=True))
    decided = phase != "undecided"
    fourth = np.isin(phase, ("IV-A", "IV-B"))
    found = []
    for quantity, name, counts in (
        ("sharpness", sharpness, decided),
        ("connectivity", connectivity, decided),
        ("similarity", similarity, fourth),
    ):
        threshold = float(numbers(columns, f"{quantity}_threshold", argument="table")[0])
        values = np.where(counts, numbers(columns, name, argument=quantity), np.nan)
        scale = _signed_log if quantity == "connectivity" else np.asarray
        grid = np.full((len(y), len(x)), np.nan)
        grid[places[1], places[0]] = scale(values)
        lines = contour_generator(x, y, np.ma.masked_invalid(grid), corner_mask=True)
        for line in lines.lines(float(scale(np.array(threshold)))):
            points = np.array(line, dtype=np.float64)
            for axis, by_log in enumerate(logarithmic):
                points[:, axis] = np.exp(points[:, axis]) if by_log else points[:, axis]
            found.append(Boundary(quantity, threshold, points))
    return found


def _signed_log(values: Number) -> Number:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))

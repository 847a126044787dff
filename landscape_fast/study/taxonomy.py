"""The phase of each cell of a load x temperature grid, with its distance from every boundary.

    sharp    <=>  log(mean Hessian trace) > sharpness threshold
    poor     <=>  mode connectivity < connectivity threshold
    similar  <=>  CKA >= similarity threshold

                     poor         well connected
    sharp            I            II
    flat             III          IV-A (dissimilar), IV-B (similar)

Differs from Yang et al. (2021, arXiv:2107.11228) in: they draw the boundaries by eye on colour maps
and give no numbers. The default thresholds here were chosen once, by eye, on their published
CIFAR-10 measurements and carry over to no other data set by themselves; see
:mod:`landscape_fast.study.thresholds` for thresholds read off the table at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape_fast.arguments import require_number
from landscape_fast.study.table import Columns, column, columns_of, numbers, with_columns
from landscape_fast.study.thresholds import (
    MARGIN_UNITS,
    connectivity_split,
    sharpness_split,
    similarity_split,
)

T = TypeVar("T")
Number = NDArray[np.float64]

PHASES = ("I", "II", "III", "IV-A", "IV-B", "undecided")
SHARPNESS_THRESHOLD = 5.9  # natural log of the trace: a trace of 365
CONNECTIVITY_THRESHOLD = -2.0  # percentage points of training error
SIMILARITY_THRESHOLD = 0.70  # CKA of softmax outputs


def classify(
    table: T,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    sharpness: str = "log_hessian_trace",
    connectivity: str = "mc_train_err",
    similarity: str = "cka_softmax_mean",
    sharpness_threshold: float | Literal["data"] = SHARPNESS_THRESHOLD,
    connectivity_threshold: float | Literal["data"] = CONNECTIVITY_THRESHOLD,
    similarity_threshold: float | Literal["data"] = SIMILARITY_THRESHOLD,
    connectivity_spread: str | None = None,
    converged: str | None = None,
) -> T:
    """Name the phase of every cell of a grid.

    A cell is ``undecided`` if a metric that its own branch of the rule needs is missing (NaN,
    infinite, None or empty), or if it is not converged. Every branch needs sharpness and
    connectivity; similarity is needed by flat, well connected cells only.

    Args:
        table: One row per cell: a mapping of columns, a sequence of rows or a pandas data frame.
        load: Column of the load-like knob (amount of data against size of model).
        temperature: Column of the temperature-like knob (noise of the training).
        sharpness: Column of log sharpness; natural logarithms.
        connectivity: Column of mode connectivity, percentage points of training error.
        similarity: Column of CKA between independently trained models.
        sharpness_threshold: Sharp is above it. ``"data"`` takes it from the table:
            :func:`~landscape_fast.study.thresholds.sharpness_split`.
        connectivity_threshold: Poorly connected is below it. ``"data"``:
            :func:`~landscape_fast.study.thresholds.connectivity_split`.
        similarity_threshold: Similar is this or above. ``"data"``:
            :func:`~landscape_fast.study.thresholds.similarity_split`, on the cells that the other
            two thresholds leave in phase IV.
        connectivity_spread: Column of the standard deviation of connectivity between the pairs of
            a cell; used by ``connectivity_threshold="data"`` alone.
        converged: Column that says whether a cell's measurements converged; None uses the column
            ``converged`` if there is one. An empty field counts as not converged.

    Returns:
        A copy of ``table``, of the same kind, with these columns added or replaced: ``phase``, one
        of :data:`PHASES`; ``sharpness_margin``, ``connectivity_margin`` and ``similarity_margin``,
        value minus threshold in the quantity's own unit; ``margin``, the smallest distance from a
        threshold among the quantities that decided the cell, each counted in its unit of
        :data:`~landscape_fast.study.thresholds.MARGIN_UNITS` (about one standard deviation between
        training runs), NaN for an undecided cell; ``sharpness_threshold``,
        ``connectivity_threshold`` and ``similarity_threshold``, as used.

    Raises:
        ValueError: A named column is missing or not of numbers, the table is empty, a threshold is
            not a finite number, or ``"data"`` was asked of data that hold no two groups.
        TypeError: ``table`` is not a table, or a threshold is neither a number nor ``"data"``.

    References:
        Yang, Hodgkinson, Theisen, Zou, Gonzalez, Ramchandran, Mahoney (2021), arXiv:2107.11228.

    Example:
        >>> cells = {"width": [2, 64], "batch_size": [128, 128],
        ...          "log_hessian_trace": [7.5, 3.6], "mc_train_err": [-14.6, 0.0],
        ...          "cka_softmax_mean": [0.49, 0.76]}
        >>> classify(cells)["phase"]
        ['I', 'IV-B']
    """
    columns = columns_of(table)
    if not len(column(columns, load, argument="load")):
        raise ValueError("table has no rows")
    column(columns, temperature, argument="temperature")
    named = {"sharpness": sharpness, "connectivity": connectivity, "similarity": similarity}
    values = np.stack([numbers(columns, wanted, argument=name) for name, wanted in named.items()])
    values[np.isinf(values)] = np.nan  # a metric that diverged is no measurement either
    usable = converged_rows(columns, converged)

    spread = None
    if connectivity_spread is not None:
        spread = numbers(columns, connectivity_spread, argument="connectivity_spread")
    given = {
        "sharpness": number_or_data("sharpness_threshold", sharpness_threshold),
        "connectivity": number_or_data("connectivity_threshold", connectivity_threshold),
        "similarity": number_or_data("similarity_threshold", similarity_threshold),
    }
    knobs = columns[load], columns[temperature]
    thresholds = _thresholds(given, values, usable, knobs, spread)

    phase = np.where(usable, phases_of(*values, thresholds=thresholds), "undecided")
    margins = values - np.array(thresholds)[:, None]
    added: dict[str, NDArray[Any]] = {"phase": phase}
    added |= {f"{name}_margin": row for name, row in zip(named, margins, strict=True)}
    added["margin"] = _smallest(margins, phase)
    for name, threshold in zip(named, thresholds, strict=True):
        added[f"{name}_threshold"] = np.full(len(phase), threshold)
    return with_columns(table, added)


def phases_of(
    sharpness: ArrayLike,
    connectivity: ArrayLike,
    similarity: ArrayLike,
    *,
    thresholds: Sequence[float] | Number,
) -> NDArray[np.str_]:
    """Apply the rule to arrays of one shape; what a branch needs and is NaN: undecided.

    ``thresholds`` are those of sharpness, connectivity and similarity: numbers, or arrays that go
    with the values.

    Example:
        >>> phases_of([7.0, 4.0, 4.0], [-9.0, 0.0, -9.0], np.nan, thresholds=(5.9, -2.0, 0.7))
        array(['I', 'undecided', 'III'], dtype='<U9')
    """
    s, c, a = np.broadcast_arrays(
        *(np.asarray(values, dtype=np.float64) for values in (sharpness, connectivity, similarity))
    )
    sharp, poor, similar = s > thresholds[0], c < thresholds[1], a >= thresholds[2]
    fourth = ~sharp & ~poor
    missing = np.isnan(s + thresholds[0]) | np.isnan(c + thresholds[1])
    missing |= fourth & np.isnan(a + thresholds[2])
    return np.select(
        [missing, sharp & poor, sharp, poor, ~similar], ["undecided", *PHASES[:4]], PHASES[4]
    )


def phase_counts(table: object, *, phase: str = "phase") -> dict[str, int]:
    """Count the cells of each phase, in the order of :data:`PHASES`, zeros included.

    Example:
        >>> phase_counts({"phase": ["I", "IV-B", "I"]})
        {'I': 2, 'II': 0, 'III': 0, 'IV-A': 0, 'IV-B': 1, 'undecided': 0}
    """
    found = column(columns_of(table), phase, argument="phase").tolist()
    return {name: found.count(name) for name in PHASES}


def number_or_data(argument: str, threshold: float | str) -> float | None:
    """An explicit threshold as a float, or None for ``"data"``."""
    if isinstance(threshold, str):
        if threshold != "data":
            raise ValueError(f'{argument} must be a number or "data", got {threshold!r}')
        return None
    require_number(**{argument: threshold})
    return float(threshold)


def converged_rows(columns: Columns, name: str | None = None) -> NDArray[np.bool_]:
    """Which rows converged, by the column ``name`` or else ``converged``; all where it is not."""
    if name is None and "converged" not in columns:
        return np.ones(len(next(iter(columns.values()))), dtype=np.bool_)
    values = column(columns, name or "converged", argument="converged").tolist()
    yes, no = (True, 1, "true", "yes"), (False, 0, "false", "no", "", None)
    out = np.zeros(len(values), dtype=np.bool_)
    for row, value in enumerate(values):
        said = value.strip().lower() if isinstance(value, str) else value
        unknown = isinstance(said, float) and math.isnan(said)
        if said not in yes and said not in no and not unknown:
            raise ValueError(f"converged: row {row} holds {value!r}, which is not true or false")
        out[row] = said in yes
    return out


def _thresholds(
    given: dict[str, float | None],
    values: Number,
    usable: NDArray[np.bool_],
    knobs: tuple[NDArray[Any], NDArray[Any]],
    spread: Number | None,
) -> tuple[float, float, float]:
    """The thresholds that were given, and from the data those that were not.

    Only cells that can be decided take part; similarity comes last, as the other two say which
    cells are in phase IV.
    """
    measured = usable & np.isfinite(values[:2]).all(axis=0)
    sharp, poor, similar = given.values()
    if sharp is None:
        load, temperature = (knob[measured] for knob in knobs)
        sharp = sharpness_split(values[0, measured], load, temperature).threshold
    if poor is None:
        repeats = None if spread is None else spread[measured]
        poor = connectivity_split(values[1, measured], spread=repeats).threshold
    if similar is None:
        fourth = measured & (values[0] <= sharp) & (values[1] >= poor) & np.isfinite(values[2])
        similar = similarity_split(values[2, fourth]).threshold
    return sharp, poor, similar


def _smallest(margins: Number, phase: NDArray[np.str_]) -> Number:
    """Distance from the nearest boundary that decided each cell, in margin units."""
    distances = np.abs(margins) / np.array(list(MARGIN_UNITS.values()))[:, None]
    asked_similarity = np.isin(phase, ("IV-A", "IV-B"))
    distances[2] = np.where(asked_similarity, distances[2], np.inf)
    return np.where(phase == "undecided", np.nan, distances.min(axis=0))

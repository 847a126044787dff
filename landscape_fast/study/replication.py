"""Two measurements of one grid of cells: do they order its cells alike?

Training loss, the samples behind the Hessian and the length of a schedule move every metric by a
factor, so values of two studies are not comparable where they differ in these. The order of the
cells is what a smaller study of the same grid can reproduce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.study.evidence import FEWEST, Evidence, Rows, bounded, spearman
from landscape_fast.study.table import Columns, column, columns_of, numbers

METRICS = ("log_hessian_trace", "log_hessian_top_eig", "mc_train_err", "cka_softmax_mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """How far two tables order the cells that both have by one metric alike."""

    metric: str
    rank_correlation: float  # Spearman's; nan of fewer than twelve cells or a constant side
    interval: tuple[float, float]  # over values of both knobs, within [-1, 1]; nan likewise
    cells: int  # in both tables, with a finite and converged value in each


def replication(
    table: object,
    reference: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    metrics: Sequence[str] = METRICS,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> list[Replication]:
    """Rank correlation of each metric between two tables, over the cells that both have.

    Args:
        table: One row per cell.
        reference: The same for the measurements it is held against, such as published ones.
        load: Column of the load-like knob, in both.
        temperature: Column of the temperature-like knob, in both. Cells are the same where both
            knobs are equal.
        metrics: Columns to compare, in both.
        level: Of the intervals.
        replicates: Of the bootstrap that draws the values of both knobs.
        seed: Of its draws.

    Returns:
        One answer for each metric, in the order given.

    Raises:
        ValueError: A column is missing, a cell is in one table twice, ``level`` is not between 0
            and 1, or ``replicates`` is below 1.

    References:
        Spearman (1904), doi:10.2307/1412159, for the correlation; Owen (2007),
        doi:10.1214/07-AOAS122, for the bootstrap.

    Example:
        >>> ours = {"width": [2, 8] * 6, "batch_size": np.repeat(range(6), 2), "cka": range(12)}
        >>> theirs = ours | {"cka": np.arange(12.0) ** 2}
        >>> replication(ours, theirs, metrics=["cka"])[0].rank_correlation
        1.0
    """
    require_number(above=0, below=1, level=level)
    require_whole(1, replicates=replicates)
    require_seed(seed)
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise TypeError(f"metrics must be a sequence of column names, got {metrics!r}")
    knobs, sides = (load, temperature), []
    for given, argument in ((table, "table"), (reference, "reference")):
        columns = columns_of(given)
        for name in (*knobs, *metrics):
            column(columns, name, argument=argument)
        sides.append((_places(columns, knobs, argument), columns))
    (ours, own), (theirs, others) = sides
    shared = [place for place in ours if place in theirs]
    first, second = (np.array([side[p] for p in shared], np.intp) for side in (ours, theirs))
    one, other = (
        Evidence(_rows(columns, rows), *knobs, level=level, replicates=replicates, seed=seed)
        for columns, rows in ((own, first), (others, second))
    )
    return [_compared(metric, one, other) for metric in metrics]


def _places(
    columns: Columns, knobs: tuple[str, str], argument: str
) -> dict[tuple[float, ...], int]:
    values = zip(
        *(numbers(columns, knob, argument=argument).tolist() for knob in knobs), strict=True
    )
    places: dict[tuple[float, ...], int] = {}
    for row, cell in enumerate(values):
        if cell in places:
            raise ValueError(f"{argument} has two rows with {dict(zip(knobs, cell, strict=True))}")
        places[cell] = row
    return places


def _rows(columns: Columns, rows: Rows) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def _compared(metric: str, one: Evidence, other: Evidence) -> Replication:
    ours, theirs = one.metric(metric), other.metric(metric)
    known = np.isfinite(ours) & np.isfinite(theirs)

    def alike(rows: Rows) -> float:
        rows = rows[known[rows]]
        return spearman(ours[rows], theirs[rows])

    found, interval = float("nan"), (float("nan"), float("nan"))
    if known.sum() >= 4 * FEWEST:
        found = alike(np.arange(len(known)))
        interval = bounded(one.over_values(metric, alike, of=(one.load, one.temperature)))
    return Replication(
        metric=metric, rank_correlation=found, interval=interval, cells=int(known.sum())
    )

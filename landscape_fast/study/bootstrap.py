"""How sure a phase is: cells classified again and again with their runs resampled.

The value of a cell, and of each resampled cell, is

    sharpness      log(mean over runs of the Hessian trace), natural logarithm of the mean
    connectivity   mean over pairs of distinct runs
    similarity     mean over pairs of distinct runs

A replicate draws the runs of each cell with replacement (Efron 1979, doi:10.1214/aos/1176344552).
Pairs follow the runs: a pair counts once for each way in which its two runs were drawn. A run drawn
twice makes no pair with itself, whose CKA of 1 and barrier of 0 say nothing about other runs.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from landscape_fast.arguments import require_seed, require_whole
from landscape_fast.study.table import Columns, column, columns_of, numbers, with_columns
from landscape_fast.study.taxonomy import (
    CONNECTIVITY_THRESHOLD,
    PHASES,
    SHARPNESS_THRESHOLD,
    SIMILARITY_THRESHOLD,
    converged_rows,
    number_or_data,
    phases_of,
)
from landscape_fast.study.thresholds import (
    FEWEST,
    connectivity_level,
    sharpness_level,
    similarity_level,
)

T = TypeVar("T")
Number = NDArray[np.float64]
Cell = tuple[Any, Any]  # load, temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseProbabilities:
    """How often each phase came out for each cell, over the replicates."""

    cells: Columns  # the load and the temperature column, one row per cell
    probabilities: Number  # (cells, 6) float64, in the order of PHASES; rows sum to 1
    several_phases: float  # share of replicates whose map shows more than one phase
    thresholds: Number  # (3, replicates) of sharpness, connectivity and similarity; nan: none found
    replicates: int

    def added_to(self, table: T, *, phase: str = "phase") -> T:
        """Return a classified ``table`` with the probability of each cell's own phase.

        Adds ``phase_probability``; a cell without runs gets NaN.

        Raises:
            ValueError: ``table`` lacks the knobs or the column ``phase``.
        """
        columns = columns_of(table)
        knobs = [column(columns, name, argument="table").tolist() for name in self.cells]
        cells = zip(*(values.tolist() for values in self.cells.values()), strict=True)
        row_of = {cell: row for row, cell in enumerate(cells)}
        own = np.full(len(knobs[0]), np.nan)
        names = column(columns, phase, argument="phase").tolist()
        for i, (cell, name) in enumerate(zip(zip(*knobs, strict=True), names, strict=True)):
            if cell in row_of:
                own[i] = self.probabilities[row_of[cell], PHASES.index(name)]
        return with_columns(table, {"phase_probability": own})


def phase_probabilities(
    runs: object,
    pairs: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    run: str = "seed",
    run_i: str = "seed_i",
    run_j: str = "seed_j",
    sharpness: str = "hessian_trace",
    connectivity: str = "mc_train_err",
    similarity: str = "cka_softmax",
    sharpness_threshold: float | Literal["data"] = SHARPNESS_THRESHOLD,
    connectivity_threshold: float | Literal["data"] = CONNECTIVITY_THRESHOLD,
    similarity_threshold: float | Literal["data"] = SIMILARITY_THRESHOLD,
    replicates: int = 1000,
    seed: int = 0,
) -> PhaseProbabilities:
    """Estimate the probability of each phase in each cell by a bootstrap over training runs.

    Thresholds that are numbers are held fixed; ``"data"`` finds them again in every replicate, so
    that their own uncertainty is seen. A cell is undecided throughout where a run or pair did not
    converge (column ``converged`` of either table). A replicate in which none of a metric's
    measured runs or pairs was drawn says nothing new about that metric, which then keeps the cell's
    own mean. With three runs that happens to the pairs in one replicate of nine; with a single
    measured pair the metric never varies, and its uncertainty is not seen.

    Args:
        runs: Table of one row per cell and run.
        pairs: Table of one row per cell and pair of runs, in one order or both; rows that pair a
            run with itself are left out. Missing values (NaN) are left out of means.
        load: Column of the load-like knob, in both tables.
        temperature: Column of the temperature-like knob, in both tables.
        run: Column of ``runs`` that tells the runs of a cell apart.
        run_i: Column of ``pairs``, the first run of the pair.
        run_j: Column of ``pairs``, the second run of the pair.
        sharpness: Column of ``runs``, the Hessian trace or top eigenvalue itself, not its log.
        connectivity: Column of ``pairs``, mode connectivity in percentage points.
        similarity: Column of ``pairs``, CKA.
        sharpness_threshold: Of the logarithm; see :func:`~landscape_fast.study.taxonomy.classify`.
        connectivity_threshold: Percentage points. ``"data"`` is here the split without repeats.
        similarity_threshold: CKA.
        replicates: Number of resampled maps; a probability p has the standard error
            sqrt(p (1 - p) / replicates) from this.
        seed: Chooses the draws. Those of a cell depend on it and on the cell's knobs alone.

    Returns:
        Probabilities per cell, cells in the order of ``runs``.

    Raises:
        ValueError: A column is missing, a run appears twice in a cell, a pair names a run that the
            cell does not have, or ``replicates`` is below 1.

    Example:
        >>> runs = {"width": [2, 2], "batch_size": [16, 16], "seed": [0, 1],
        ...         "hessian_trace": [700.0, 900.0]}
        >>> pairs = {"width": [2], "batch_size": [16], "seed_i": [0], "seed_j": [1],
        ...          "mc_train_err": [-9.0], "cka_softmax": [0.5]}
        >>> phase_probabilities(runs, pairs).probabilities[0]
        array([1., 0., 0., 0., 0., 0.])
    """
    require_whole(1, replicates=replicates)
    require_seed(seed)
    a, b = columns_of(runs), columns_of(pairs)
    knobs = {name: column(a, name, argument="runs") for name in (load, temperature)}
    rows, pair_rows = _by_cell(a, (load, temperature)), _by_cell(b, (load, temperature))
    trace = numbers(a, sharpness, argument="sharpness")
    mc = numbers(b, connectivity, argument="connectivity")
    cka = numbers(b, similarity, argument="similarity")
    names = column(a, run, argument="run")
    ends = column(b, run_i, argument="run_i"), column(b, run_j, argument="run_j")

    sound = converged_rows(a), converged_rows(b) | (ends[0] == ends[1])
    each = []
    for cell, at in rows.items():
        of_pairs = pair_rows.get(cell, np.empty(0, dtype=np.intp))
        i, j = _places(cell, names[at].tolist(), [end[of_pairs].tolist() for end in ends])
        drawn = _draws(cell, len(at), replicates, seed)
        drawn_pairs = drawn[:, i] * drawn[:, j]
        mean_trace = _means(trace[at], drawn)
        values = np.stack(
            [
                np.log(np.where(mean_trace > 0.0, mean_trace, np.nan)),
                _means(np.where(i == j, np.nan, mc[of_pairs]), drawn_pairs),
                _means(np.where(i == j, np.nan, cka[of_pairs]), drawn_pairs),
            ]
        )
        each.append(values if sound[0][at].all() and sound[1][of_pairs].all() else values * np.nan)
    first = [at[0] for at in rows.values()]
    values = np.stack(each, axis=1)  # (3, cells, replicates)
    thresholds = thresholds_of(
        values,
        (sharpness_threshold, connectivity_threshold, similarity_threshold),
        [values_of[first] for values_of in knobs.values()],
    )
    maps = phases_of(*values, thresholds=thresholds[:, None])
    found = np.stack([maps == name for name in PHASES])  # (6, cells, replicates)
    return PhaseProbabilities(
        cells={name: values[first] for name, values in knobs.items()},
        probabilities=found.mean(axis=2).T,
        several_phases=float((found[:-1].any(axis=1).sum(axis=0) > 1).mean()),
        thresholds=thresholds,
        replicates=replicates,
    )


def thresholds_of(
    values: Number, given: tuple[float | str, float | str, float | str], knobs: list[NDArray[Any]]
) -> Number:
    """Thresholds (3, replicates): those given, and in place of ``"data"`` those of each replicate.

    ``values`` is (3, cells, replicates). nan where too few cells have values, and then no cell can
    be told from it.
    """
    named = zip(("sharpness", "connectivity", "similarity"), given, strict=True)
    numbers_given = [number_or_data(f"{name}_threshold", value) for name, value in named]
    fixed = [np.nan if value is None else value for value in numbers_given]
    out = np.tile(np.array(fixed)[:, None], values.shape[2])
    if None not in numbers_given:
        return out
    for replicate, (s, c, a) in enumerate(values.transpose(2, 0, 1)):
        known = np.isfinite(s) & np.isfinite(c)
        if known.sum() >= FEWEST and numbers_given[0] is None:
            out[0, replicate] = sharpness_level(s[known], knobs[0][known], knobs[1][known])
        if known.sum() >= FEWEST and numbers_given[1] is None:
            out[1, replicate] = connectivity_level(c[known])
        sharp, poor = out[:2, replicate]
        fourth = known & (s <= sharp) & (c >= poor) & np.isfinite(a)
        if fourth.sum() >= FEWEST and numbers_given[2] is None:
            out[2, replicate] = similarity_level(a[fourth])[0]
    return out


def _by_cell(columns: Columns, knobs: tuple[str, str]) -> dict[Cell, NDArray[np.intp]]:
    """The rows of each cell, cells in order of appearance."""
    rows: dict[Cell, list[int]] = {}
    values = [column(columns, name, argument="runs and pairs").tolist() for name in knobs]
    for row, cell in enumerate(zip(*values, strict=True)):
        rows.setdefault(cell, []).append(row)
    return {cell: np.array(found) for cell, found in rows.items()}


def _places(cell: Cell, names: list[Any], ends: list[list[Any]]) -> list[NDArray[np.intp]]:
    """For each pair of a cell, where its two runs stand among the cell's runs."""
    if len(set(names)) < len(names):
        raise ValueError(f"runs: the cell {cell} has a run twice: {names}")
    unknown = (set(ends[0]) | set(ends[1])) - set(names)
    if unknown:
        raise ValueError(f"pairs: the cell {cell} pairs runs {unknown}, but its runs are {names}")
    return [np.array([names.index(name) for name in end], dtype=np.intp) for end in ends]


def _draws(cell: Cell, runs: int, replicates: int, seed: int) -> Number:
    """(replicates, runs) how often each run was drawn."""
    key = zlib.crc32(f"{cell[0]}, {cell[1]}".encode())
    random = np.random.default_rng([seed, key])
    return random.multinomial(runs, np.full(runs, 1.0 / runs), size=replicates).astype(np.float64)


def _means(values: Number, weights: Number) -> Number:
    """(m,) values, (r, m) weights -> (r,) weighted means of those values that are finite.

    The plain mean where no finite value has weight, NaN where there is none.
    """
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(weights), np.nan)
    weights = np.where(weights[:, known].any(axis=1, keepdims=True), weights[:, known], 1.0)
    return np.asarray(weights @ values[known] / weights.sum(axis=1))

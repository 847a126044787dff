"""Findings of Yang et al. (2021) about which metrics order test accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landscape_fast.study.evidence import (
    FEWEST,
    Evidence,
    Finding,
    Rows,
    bounded,
    judged,
    spearman,
    untold,
)

ORDERS = 0.5  # rank correlation from which on a quantity counts as ordering accuracy

_UNIT = "rank correlation"


def distance_informs_less(grid: Evidence) -> Finding:
    """Finding 6: rank correlation of accuracy with CKA less that with l2 distance."""
    number, claim = "6", "The l2 distance says less about accuracy than CKA"
    similarity, distance = grid.metric("cka_softmax_mean"), grid.metric("l2_distance_mean")
    known = np.isfinite(similarity + distance + grid.accuracy)
    if known.sum() < 4 * FEWEST:
        return untold(number, claim, _few(known), unit=_UNIT)
    accuracy = grid.accuracy

    def lead(rows: Rows) -> float:
        rows = rows[known[rows]]
        by = [abs(spearman(values[rows], accuracy[rows])) for values in (similarity, distance)]
        return by[0] - by[1]

    every = np.arange(len(accuracy))[known]
    return judged(
        number,
        claim,
        effect=lead(every),
        unit=_UNIT,
        interval=bounded(grid.over_values(number, lead, of=(grid.load, grid.temperature))),
        basis=f"{grid.load} and {grid.temperature}",
        sentence=f"Over {known.sum()} cells test accuracy has the rank correlation "
        f"{spearman(similarity[every], accuracy[every]):+.2f} with CKA and "
        f"{spearman(distance[every], accuracy[every]):+.2f} with the l2 distance.",
        cells=int(known.sum()),
    )


def order_without_test_data(grid: Evidence) -> Finding:
    """Finding 7: the weaker of two rank correlations, of accuracy with CKA and with -|mc|."""
    number = "7"
    claim = "Connectivity and CKA, which need no test data, order test accuracy"
    similarity, gap = grid.metric("cka_softmax_mean"), -np.abs(grid.metric("mc_train_err"))
    known = np.isfinite(similarity + gap + grid.accuracy)
    if known.sum() < 4 * FEWEST:
        return untold(number, claim, _few(known), unit=_UNIT, at_least=ORDERS)
    accuracy = grid.accuracy

    def weaker(rows: Rows) -> float:
        rows = rows[known[rows]]
        return min(spearman(values[rows], accuracy[rows]) for values in (similarity, gap))

    every = np.arange(len(accuracy))[known]
    return judged(
        number,
        claim,
        effect=weaker(every),
        unit=_UNIT,
        at_least=ORDERS,
        interval=bounded(grid.over_values(number, weaker, of=(grid.load, grid.temperature))),
        basis=f"{grid.load} and {grid.temperature}",
        sentence=f"Over {known.sum()} cells test accuracy has the rank correlation "
        f"{spearman(similarity[every], accuracy[every]):+.2f} with CKA and "
        f"{spearman(gap[every], accuracy[every]):+.2f} with -|mc|; both follow the knobs, as "
        "accuracy does.",
        cells=int(known.sum()),
    )


def _few(known: NDArray[np.bool_]) -> str:
    return f"{known.sum()} of its cells have all it takes, {4 * FEWEST} needed"

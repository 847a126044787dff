"""Paired timing: rivals run in alternating order, and ratios are taken within a round.

On a machine that others use too, two timings a minute apart say little; two in a row say more. The
median over rounds of the ratio within a round is what the benchmarks state.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from time import perf_counter

import torch


def ratios(
    ours: Callable[[], object], rivals: Mapping[str, Callable[[], object]], *, rounds: int = 7
) -> dict[str, dict[str, float]]:
    """Time of ``ours`` over that of each rival.

    Args:
        ours: What is judged; run once before timing, like every rival.
        rivals: What it is compared with.
        rounds: Rounds; each times everything once, in turn forwards and backwards.

    Returns:
        Per rival the median of the ratio and its quartiles; below 1 ours is faster.
    """
    everyone = {"ours": ours, **rivals}
    for function in everyone.values():
        function()
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(rounds):
        order = list(everyone) if turn % 2 == 0 else list(reversed(everyone))
        taken = {name: _seconds(everyone[name]) for name in order}
        for name in rivals:
            found[name].append(taken["ours"] / taken[name])
    return {name: _summary(values) for name, values in found.items()}


def _seconds(function: Callable[[], object]) -> float:
    _wait()
    start = perf_counter()
    function()
    _wait()
    return perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _summary(values: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "low": low, "high": high}

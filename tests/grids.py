"""Grids of cells with planted phases, accuracies and effects of knobs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Number = NDArray[np.float64]

WIDTHS = 2.0 ** np.arange(1, 9)
BATCHES = 2.0 ** np.arange(4, 12)
RUNS = 5


def knobs(
    loads: Number = WIDTHS, temperatures: Number = BATCHES, name: str = "width"
) -> dict[str, Number]:
    load, temperature = (axis.ravel() for axis in np.meshgrid(loads, temperatures))
    return {name: load, "batch_size": temperature}


def phases(table: dict[str, Number]) -> NDArray[np.str_]:
    """Sharp below batch 64, poor below width 16, similar from width 64 on."""
    width, batch = table["width"], table["batch_size"]
    sharp, poor = batch < 64, width < 16
    return np.select([sharp & poor, sharp, poor, width < 64], ["I", "II", "III", "IV-A"], "IV-B")


def measured(truth: Number, random: np.random.Generator, spread: float = 0.5) -> dict[str, Number]:
    """Means and standard deviations of five runs whose expectation is ``truth``."""
    runs = truth + spread * random.standard_normal((RUNS, len(truth)))
    return {
        "test_acc_mean": runs.mean(0),
        "test_acc_std": runs.std(0, ddof=1),
        "n_seeds": np.full(len(truth), RUNS),
    }


def grid(
    accuracy: Callable[[dict[str, Number]], Number], *, seed: int = 0, spread: float = 0.5
) -> dict[str, Number]:
    """Cells with their phases and runs around ``accuracy(table)``; metrics that fit the phases."""
    table = knobs()
    phase = phases(table)
    table["phase"] = phase
    random = np.random.default_rng(seed)
    sharp = np.isin(phase, ("I", "II"))
    table["log_hessian_trace"] = np.where(sharp, 7.0, 5.0) + 0.01 * random.standard_normal(64)
    table["train_loss_mean"] = np.where(sharp, 0.5, 0.002)
    table["mc_train_err"] = np.where(np.isin(phase, ("I", "III")), -9.0, 0.0)
    return {**table, **measured(accuracy(table), random, spread)}

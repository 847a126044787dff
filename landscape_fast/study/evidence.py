"""What a statement about a grid rests on: its cells, an effect, an interval, a verdict.

Intervals come from two kinds of bootstrap. *Over seeds*: the cells stay, and their accuracies vary
as their standard deviations between runs say; this asks whether other runs of the same cells would
say the same. *Over values of a knob*, or of both: they are drawn with replacement, each knob on its
own (Owen 2007, doi:10.1214/07-AOAS122), so that the cells of a row or column stand or fall
together; this asks whether the statement rests on few of them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, t

from landscape_fast.study.table import Columns, column, numbers
from landscape_fast.study.taxonomy import PHASES, converged_rows

Number = NDArray[np.float64]
Rows = NDArray[np.intp]
Verdict = Literal["supported", "contradicted", "cannot tell"]

FEWEST = 3  # cells on each side of a comparison

_OWN_SPREAD = 4  # runs from which a cell's own standard deviation is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim of Yang et al. (2021) and what a grid says about it."""

    number: str
    claim: str
    effect: float  # nan where the grid lacks what it takes
    unit: str
    at_least: float  # the claim is that the effect exceeds this
    interval: tuple[float, float]  # of the effect, of the level asked for; nan likewise
    basis: str  # "bootstrap over seeds" or over the values of knobs, which are named; or ""
    verdict: Verdict  # by the whole interval: above `at_least`, below it, or neither
    sentence: str
    cells: int  # that the effect is computed from


@dataclass(frozen=True, slots=True)
class Evidence:
    """The cells of a classified table, and how to resample them.

    Args:
        columns: One row per cell, with ``phase`` where a question asks for phases.
        load: Column of the load-like knob.
        temperature: Column of the temperature-like knob.
        settings: Knobs that are the same in all cells, such as ``label_noise``.
        level: Of intervals.
        replicates: Of bootstraps.
        seed: Of their draws.
    """

    columns: Columns
    load: str
    temperature: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    level: float = 0.95
    replicates: int = 1000
    seed: int = 0

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.columns[self.load])

    def metric(self, name: str) -> Number:
        """A measured column; nan where it is missing, not finite or not converged."""
        if name not in self.columns:
            return np.full(self.cells, np.nan)
        values = numbers(self.columns, name, argument="table").copy()
        values[~np.isfinite(values) | ~converged_rows(self.columns)] = np.nan
        return values

    @property
    def accuracy(self) -> Number:
        """Mean test accuracy, percent."""
        return self.metric("test_acc_mean")

    @property
    def phase(self) -> NDArray[Any]:
        """Names of phases."""
        return column(self.columns, "phase", argument="table")

    def within(self, *phases: str) -> NDArray[np.bool_]:
        """Cells of these phases whose test accuracy is known."""
        assert set(phases) <= set(PHASES)
        return np.isin(self.phase, phases) & np.isfinite(self.accuracy)

    def knob(self, name: str) -> Number | None:
        """Value of a knob in every cell, whether it varies or not; None where it is not known."""
        if name in self.columns:
            return numbers(self.columns, name, argument="table")
        value = self.settings.get(name)
        return None if value is None else np.full(self.cells, float(value))

    def axis(self, name: str) -> Number | None:
        """Values of a knob that is the load or the temperature; None where it is neither."""
        return self.knob(name) if name in (self.load, self.temperature) else None

    def noise(self) -> tuple[Number, Number]:
        """Standard error of each mean test accuracy and its degrees of freedom; nan where unknown.

        Of fewer than four runs the variance is pooled over the cells of the same phase.
        """
        spread, runs = self.metric("test_acc_std"), self.metric("n_seeds")
        known = np.isfinite(spread) & (runs > 1)
        freedom = np.where(known, runs - 1, np.nan)
        for phase in np.unique(self.phase):
            cells = known & (self.phase == phase)
            few = cells & (runs < _OWN_SPREAD)
            if few.any():
                total = float(freedom[cells].sum())
                pooled = math.sqrt(float(freedom[cells] @ spread[cells] ** 2) / total)
                spread[few], freedom[few] = pooled, total
        return np.asarray(np.where(known, spread, np.nan) / np.sqrt(runs)), freedom

    def over_seeds(
        self, number: str, effect: Callable[[Number], float], *, among: NDArray[np.bool_]
    ) -> tuple[float, float]:
        """Interval of ``effect(accuracies)`` as runs vary, for cells ``among`` all.

        Accuracies get Student's errors, of as many degrees of freedom as their standard deviations
        have, between 0 and 100 %. Best and worst cells of noisy ones look too good and too bad; the
        interval is the reflected one (basic bootstrap), which takes that back. nan where an error
        is unknown.
        """
        noise, freedom = (each[among] for each in self.noise())
        if not np.isfinite(noise).all():
            return math.nan, math.nan
        random = self._random(number)
        measured = self.accuracy
        found = effect(measured)
        drawn = []
        for _ in range(self.replicates):
            values = measured.copy()
            shaken = values[among] + noise * random.standard_t(freedom)
            values[among] = np.clip(shaken, 0.0, 100.0)
            drawn.append(effect(values))
        low, high = self._quantiles(drawn)
        return 2 * found - high, 2 * found - low

    def over_values(
        self, number: str, effect: Callable[[Rows], float], *, of: tuple[str, ...]
    ) -> tuple[float, float]:
        """Interval of ``effect(rows)`` over draws of the values of knobs, rows repeated.

        A bootstrap of g values is too narrow: its variance is short by (g - 1)/g, and its quantiles
        are those of a normal law. The interval is stretched by what Student's law of g - 1 degrees
        of freedom makes of both, g of the knob with the fewest values. A replicate in which the
        effect is not defined is left out; nan where that is more than half of them, or g is 1.
        """
        random = self._random(number)
        weights = np.ones((self.replicates, self.cells), dtype=np.intp)
        fewest = self.cells
        for knob in of:
            values, place = np.unique(self.columns[knob], return_inverse=True)
            share = np.full(len(values), 1.0 / len(values))
            weights *= random.multinomial(len(values), share, size=self.replicates)[:, place]
            fewest = min(fewest, len(values))
        if fewest < 2:
            return math.nan, math.nan
        drawn = [effect(np.repeat(np.arange(len(counts)), counts)) for counts in weights]
        low, high = self._quantiles(drawn)
        found, tail = effect(np.arange(self.cells)), (1.0 + self.level) / 2.0
        stretch = math.sqrt(fewest / (fewest - 1))
        stretch *= float(t.ppf(tail, fewest - 1) / norm.ppf(tail))
        return found - stretch * (found - low), found + stretch * (high - found)

    def _random(self, number: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(number.encode())])

    def _quantiles(self, drawn: list[float]) -> tuple[float, float]:
        known = np.array(drawn)[np.isfinite(drawn)]
        if 2 * len(known) < len(drawn) or not len(known):
            return math.nan, math.nan
        tail = (1.0 - self.level) / 2.0
        low, high = np.quantile(known, [tail, 1.0 - tail])
        return float(low), float(high)


def judged(
    number: str,
    claim: str,
    *,
    effect: float,
    unit: str,
    interval: tuple[float, float],
    basis: str,
    sentence: str,
    cells: int,
    at_least: float = 0.0,
) -> Finding:
    """A finding with the verdict that its interval gives."""
    verdict: Verdict = "cannot tell"
    if interval[0] > at_least:
        verdict = "supported"
    elif interval[1] < at_least:
        verdict = "contradicted"
    if math.isnan(interval[0]):
        sentence += " Errors of these values are not known."
    return Finding(
        number=number,
        claim=claim,
        effect=effect,
        unit=unit,
        at_least=at_least,
        interval=interval,
        basis=f"bootstrap over {basis}",
        verdict=verdict,
        sentence=sentence,
        cells=cells,
    )


def untold(number: str, claim: str, reason: str, *, unit: str, at_least: float = 0.0) -> Finding:
    """A finding of a grid that lacks the cells for it; ``reason`` completes "as it ..."."""
    return Finding(
        number=number,
        claim=claim,
        effect=math.nan,
        unit=unit,
        at_least=at_least,
        interval=(math.nan, math.nan),
        basis="",
        verdict="cannot tell",
        sentence=f"This grid cannot tell: {reason}.",
        cells=0,
    )


def spearman(one: Number, other: Number) -> float:
    """Rank correlation; nan where a side is constant."""
    if len(one) < FEWEST or np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def bounded(interval: tuple[float, float]) -> tuple[float, float]:
    """An interval of a rank correlation, cut to what one can be."""
    low, high = interval
    return max(low, -1.0), min(high, 1.0)

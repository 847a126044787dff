"""Findings of Yang et al. (2021) that compare the accuracies of phases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landscape_fast.study.evidence import FEWEST, Evidence, Finding, judged, untold
from landscape_fast.study.thresholds import MARGIN_UNITS

Number = NDArray[np.float64]
Rows = NDArray[np.intp]

DIP = 0.5  # percentage points of test accuracy that a dip must exceed
ZERO_LOSS = 0.02  # nats; the published cells of phase III lie below 0.0132

_POINTS = "percentage points"
_CLEAN = "none of its cells has noisy labels"
_SHORTEST = 4  # cells of a line that can dip
_OF_THE_DATA = ("label_noise", "fraction", "pixel_noise")  # knobs that change what is learned


def best_accuracy(grid: Evidence) -> Finding:
    """Finding 1: the best cell of phase IV-B against the best one elsewhere."""
    number, claim = "1", "The best test accuracy is in phase IV-B"
    inside = grid.within("IV-B")
    outside = grid.within("I", "II", "III", "IV-A")
    for cells, where in ((inside, "in phase IV-B"), (outside, "in another phase")):
        if cells.sum() < FEWEST:
            reason = f"{cells.sum()} of its cells with test accuracies are {where}, {FEWEST} needed"
            return untold(number, claim, reason, unit=_POINTS)

    def gap(accuracy: Number) -> float:
        return float(accuracy[inside].max() - accuracy[outside].max())

    accuracy = grid.accuracy
    second = str(grid.phase[outside][accuracy[outside].argmax()])
    return judged(
        number,
        claim,
        effect=gap(accuracy),
        unit=_POINTS,
        interval=grid.over_seeds(number, gap, among=inside | outside),
        basis="seeds",
        sentence=f"The best cell of phase IV-B reaches {accuracy[inside].max():.2f} %, the best "
        f"other one, in phase {second}, {accuracy[outside].max():.2f} %.",
        cells=int((inside | outside).sum()),
    )


def accuracy_at_equal_sharpness(grid: Evidence) -> Finding:
    """Finding 2a: cells of phases III and IV-A with the same sharpness."""
    number, claim = (
        "2a",
        "Sharpness alone does not order accuracy: IV-A beats III where it is equal",
    )
    sharpness = grid.metric("log_hessian_trace")
    caliper = 2 * MARGIN_UNITS["sharpness"]
    poor = np.flatnonzero(grid.within("III") & np.isfinite(sharpness))
    well = np.flatnonzero(grid.within("IV-A") & np.isfinite(sharpness))
    near = np.abs(sharpness[poor][:, None] - sharpness[well]) <= caliper
    matched = near.any(axis=1), near.any(axis=0)
    if min(matched[0].sum(), matched[1].sum()) < FEWEST:
        reason = (
            f"{matched[0].sum()} cells of phase III and {matched[1].sum()} of IV-A lie within "
            f"{caliper:g} of each other's log trace, {FEWEST} of each needed"
        )
        return untold(number, claim, reason, unit=_POINTS)
    shares = near[matched[0]] / near[matched[0]].sum(axis=1, keepdims=True)

    def difference(accuracy: Number) -> float:
        return float((shares @ accuracy[well] - accuracy[poor[matched[0]]]).mean())

    among = np.isin(np.arange(len(sharpness)), [*poor[matched[0]], *well[matched[1]]])
    knob = grid.columns[grid.load]
    loads = [
        float(np.median(knob[rows[at]])) for rows, at in zip((poor, well), matched, strict=True)
    ]
    return judged(
        number,
        claim,
        effect=difference(grid.accuracy),
        unit=_POINTS,
        interval=grid.over_seeds(number, difference, among=among),
        basis="seeds",
        sentence=f"{matched[0].sum()} cells of phase III and {matched[1].sum()} of IV-A match in "
        f"log trace; the median {grid.load} of the former is {loads[0]:g}, of the latter "
        f"{loads[1]:g}, so that part of the difference may be its.",
        cells=int(matched[0].sum() + matched[1].sum()),
    )


def accuracy_before_fit(grid: Evidence) -> Finding:
    """Finding 3: at one load, cells before zero training loss against those of phase III at it."""
    number = "3"
    claim = "Where models are poorly connected, training to zero loss can lower test accuracy"
    noisy = _noisy(grid)
    if not noisy.any():
        return untold(number, claim, _CLEAN, unit=_POINTS)
    if grid.temperature in _OF_THE_DATA:
        reason = (
            f"at one {grid.load} its cells differ in {grid.temperature}, which changes the data"
        )
        return untold(number, claim, reason, unit=_POINTS)
    loads, loss = grid.columns[grid.load], grid.metric("train_loss_mean")
    early = noisy & grid.within("I", "II") & (loss >= ZERO_LOSS)
    late = noisy & grid.within("III") & (loss < ZERO_LOSS)
    both = [one for one in np.unique(loads) if (early & (loads == one)).any()]
    both = [one for one in both if (late & (loads == one)).any()]
    if len(both) < FEWEST:
        reason = (
            f"{len(both)} loads have cells of phase III with training loss below {ZERO_LOSS:g} and "
            f"of I or II above it, {FEWEST} needed"
        )
        return untold(number, claim, reason, unit=_POINTS)

    def gains(accuracy: Number) -> list[float]:
        at = [loads == one for one in both]
        return [float(accuracy[early & a].max() - accuracy[late & a].max()) for a in at]

    here = gains(grid.accuracy)
    among = np.isin(loads, both) & (early | late)
    return judged(
        number,
        claim,
        effect=float(np.mean(here)),
        unit=_POINTS,
        interval=grid.over_seeds(number, lambda values: float(np.mean(gains(values))), among=among),
        basis="seeds",
        sentence=f"At {sum(gain > 0 for gain in here)} of {len(both)} loads the best cell of I "
        "or II beats the best of III.",
        cells=int(among.sum()),
    )


def dip_at_transition(grid: Evidence) -> Finding:
    """Finding 5: accuracy along lines of the grid dips where sharp turns flat."""
    number, claim = (
        "5",
        "With noisy labels accuracy dips at the Hessian transition (double descent)",
    )
    noisy = _noisy(grid)
    if not noisy.any():
        return untold(number, claim, _CLEAN, unit=_POINTS, at_least=DIP)
    sharp = grid.within("I", "II")
    counted = noisy & (sharp | grid.within("III", "IV-A", "IV-B"))
    crossing = []
    for line in _lines(grid, counted):
        if len(turns := np.flatnonzero(np.diff(sharp[line]))):
            crossing.append((line, turns))
    if len(crossing) < FEWEST:
        reason = (
            f"{len(crossing)} of its rows and columns cross the Hessian transition, {FEWEST} needed"
        )
        return untold(number, claim, reason, unit=_POINTS, at_least=DIP)

    def depths(accuracy: Number) -> list[float]:
        return [
            max(_depth(accuracy[line], int(turn)) for turn in turns) for line, turns in crossing
        ]

    here = depths(grid.accuracy)
    among = np.isin(np.arange(len(grid.accuracy)), np.concatenate([line for line, _ in crossing]))
    return judged(
        number,
        claim,
        effect=float(np.mean(here)),
        unit=_POINTS,
        at_least=DIP,
        interval=grid.over_seeds(
            number, lambda values: float(np.mean(depths(values))), among=among
        ),
        basis="seeds",
        sentence=f"{sum(depth > DIP for depth in here)} of {len(crossing)} rows and columns that "
        f"cross the transition dip by more than {DIP:g} points within two cells of it.",
        cells=int(among.sum()),
    )


def _noisy(grid: Evidence) -> NDArray[np.bool_]:
    """Cells that were trained on noisy labels."""
    share = grid.knob("label_noise")
    return np.zeros(len(grid.phase), dtype=np.bool_) if share is None else np.asarray(share > 0.0)


def _lines(grid: Evidence, counted: NDArray[np.bool_]) -> list[Rows]:
    """Rows and columns of the grid: cells with one value of a knob, ordered by the other.

    None along a knob that changes the data.
    """
    found = []
    for along, across in ((grid.load, grid.temperature), (grid.temperature, grid.load)):
        if along in _OF_THE_DATA:
            continue
        position, place = grid.columns[along], grid.columns[across]
        for one in np.unique(place):
            line = np.flatnonzero(counted & (place == one))
            if len(line) >= _SHORTEST:
                found.append(line[np.argsort(position[line], kind="stable")])
    return found


def _depth(accuracy: Number, turn: int) -> float:
    """How far the lowest of the four cells around ``turn`` lies below both sides of its line."""
    first = max(turn - 1, 0)
    low = first + int(accuracy[first : turn + 3].argmin())
    return float(min(accuracy[: low + 1].max(), accuracy[low:].max()) - accuracy[low])

"""Findings of Yang et al. (2021) about what a knob does to connectivity, similarity, sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape_fast.study.evidence import FEWEST, Evidence, Finding, judged, untold
from landscape_fast.study.thresholds import MARGIN_UNITS

Number = NDArray[np.float64]
Rows = NDArray[np.intp]

FITTED = 5e-3  # training loss in nats below which models count as fitted to their labels


def width_connects(grid: Evidence) -> Finding:
    """Finding 4a: barriers of the narrower half of widths less those of the wider half."""
    return _contrast(
        grid, "4a", "Width improves connectivity", "width", _barrier(grid), -1.0, _BARRIER
    )


def data_make_similar(grid: Evidence) -> Finding:
    """Finding 4b: CKA with more training data less that with less."""
    similarity = grid.metric("cka_softmax_mean")
    return _contrast(
        grid, "4b", "More data improve similarity", "fraction", similarity, 1.0, ("CKA", "CKA")
    )


def data_need_width(grid: Evidence) -> Finding:
    """Finding 4c: barriers with more training data less those with less, at equal widths."""
    claim = "More data need more width to stay connected"
    return _contrast(grid, "4c", claim, "fraction", _barrier(grid), 1.0, _BARRIER)


def clean_labels_connect(grid: Evidence) -> Finding:
    """Finding 4d: barriers of the noisier half of label noise less those of the cleaner half."""
    claim = "Cleaner labels improve connectivity"
    return _contrast(grid, "4d", claim, "label_noise", _barrier(grid), 1.0, _BARRIER)


def noise_hides_from_sharpness(grid: Evidence) -> Finding:
    """Finding 2b: what label noise does to CKA and to log sharpness of fitted models.

    Both in units of their deviation between runs; the effect is the fall of CKA less the change of
    log sharpness.
    """
    number = "2b"
    claim = "Among fitted models label noise lowers CKA and hardly moves the Hessian"
    fitted = grid.metric("train_loss_mean") < FITTED
    sharpness, similarity = grid.metric("log_hessian_trace"), grid.metric("cka_softmax_mean")
    halves = _halves(grid, "label_noise", fitted & np.isfinite(sharpness + similarity))
    if isinstance(halves, str):
        return untold(number, claim, halves, unit=_RUNS)

    def excess(rows: Rows) -> float:
        fall = -halves.contrast(similarity, rows) / MARGIN_UNITS["similarity"]
        return fall - abs(halves.contrast(sharpness, rows)) / MARGIN_UNITS["sharpness"]

    every = np.arange(len(sharpness))
    return judged(
        number,
        claim,
        effect=excess(every),
        unit=_RUNS,
        interval=grid.over_values(number, excess, of=(halves.other,)),
        basis=f"values of {halves.other}",
        sentence=f"From the cleaner to the noisier half of {halves.cells} fitted cells CKA changes "
        f"by {halves.contrast(similarity, every):+.3f} and the log trace by "
        f"{halves.contrast(sharpness, every):+.2f}.",
        cells=halves.cells,
    )


_BARRIER = ("percentage points", "barrier")
_RUNS = "deviations between runs"


def _barrier(grid: Evidence) -> Number:
    """How far the error on the curve rises above its ends, percentage points."""
    return np.asarray(np.maximum(-grid.metric("mc_train_err"), 0.0))


@dataclass(frozen=True, slots=True)
class _Halves:
    """Cells with low and with high values of a knob, paired by the value of the other knob."""

    low: NDArray[np.bool_]
    high: NDArray[np.bool_]
    other: str  # the other knob
    place: NDArray[np.intp]  # which of its values each cell has

    @property
    def cells(self) -> int:
        return int((self.low | self.high).sum())

    def contrast(self, values: Number, rows: Rows) -> float:
        """Mean over the other knob's values of the mean high less the mean low value there."""
        size = int(self.place.max()) + 1
        means = []
        for side in (self.high, self.low):
            of = rows[side[rows]]
            counts = np.bincount(self.place[of], minlength=size)
            sums = np.bincount(self.place[of], weights=values[of], minlength=size)
            means.append(sums / np.maximum(counts, 1))
        times = np.bincount(self.place[rows], minlength=size) / np.bincount(self.place)
        weights = times * (counts > 0)
        if not weights.any():
            return float("nan")
        return float(weights @ (means[0] - means[1]) / weights.sum())


def _halves(grid: Evidence, name: str, known: NDArray[np.bool_]) -> _Halves | str:
    """Known cells with low and high values of a knob, or why there are none.

    The middle one of an odd number of values is on neither side. Only values of the other knob with
    cells on both sides count.
    """
    knob = grid.axis(name)
    if knob is None:
        return f"{name} is not one of its knobs"
    values = np.unique(knob[known])
    if len(values) < 2:
        return f"what it takes is known at {len(values)} values of {name}, 2 needed"
    half = len(values) // 2
    low, high = known & (knob <= values[half - 1]), known & (knob >= values[-half])
    other = grid.temperature if name == grid.load else grid.load
    place = np.unique(grid.columns[other], return_inverse=True)[1]
    paired = np.intersect1d(place[low], place[high])
    if len(paired) < FEWEST:
        return (
            f"cells with few and with much {name} meet at {len(paired)} values of {other}, "
            f"{FEWEST} needed"
        )
    both = np.isin(place, paired)
    return _Halves(low & both, high & both, other, place)


def _contrast(
    grid: Evidence,
    number: str,
    claim: str,
    knob: str,
    values: Number,
    sign: float,
    named: tuple[str, str],
) -> Finding:
    """Mean at high values of a knob less that at low ones, times ``sign``."""
    unit, name = named
    halves = _halves(grid, knob, np.isfinite(values))
    if isinstance(halves, str):
        return untold(number, claim, halves, unit=unit)
    means = [float(values[side].mean()) for side in (halves.low, halves.high)]
    return judged(
        number,
        claim,
        effect=sign * halves.contrast(values, np.arange(len(values))),
        unit=unit,
        interval=grid.over_values(
            number, lambda rows: sign * halves.contrast(values, rows), of=(halves.other,)
        ),
        basis=f"values of {halves.other}",
        sentence=f"The mean {name} is {means[0]:.3g} at low values of {knob} and {means[1]:.3g} "
        "at high ones.",
        cells=halves.cells,
    )

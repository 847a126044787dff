"""Thresholds between phases, read off the table itself.

Each function splits the values of one metric into two groups by least squares (Otsu 1979,
doi:10.1109/TSMC.1979.4310076), with what is known about that metric built in, and refuses where the
data hold no two groups: there a threshold would only cut noise. Two questions are asked.

- Are the groups further apart than training noise? Their means must differ by more than two of
  :data:`MARGIN_UNITS`.
- Does the split explain more than it would in a single group? Among groups with a log-concave
  density a uniform one is split best (Tibshirani, Walther and Hastie 2001, theorem 1,
  doi:10.1111/1467-9868.00293), so the share of variance explained must exceed what uniform samples
  of the same size reach in all but 5 % of draws. This is asked of the sharp transitions (sharpness,
  connectivity), not of similarity, which crosses over smoothly from phase IV-A to IV-B.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_fast.study.mixture import two_normals

Number = NDArray[np.float64]

#: One unit of margin per quantity: about one standard deviation between training runs. Sharpness
#: (log) and similarity: medians over the cells of Yang et al. (2021); connectivity, measured once
#: per cell there: one percentage point of training error.
MARGIN_UNITS = MappingProxyType({"sharpness": 0.15, "connectivity": 1.0, "similarity": 0.035})

FEWEST = 4  # cells; fewer cannot show two groups
_SIGNIFICANCE = 0.05
_UNIFORM_DRAWS = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A threshold and the evidence that it separates something."""

    threshold: float  # in the unit of the metric
    below: int  # cells on the lower side of the threshold
    above: int
    explained: float  # share of variance between the groups; nan if the threshold is a tolerance
    p_value: float  # of this share in uniform samples; nan if not asked
    gain: float = float("nan")  # BIC in favour of two normal laws over one; nan if not asked


def sharpness_split(values: Number, load: NDArray[Any], temperature: NDArray[Any]) -> Split:
    """Find the level between sharp and flat from one change point per load.

    The cells of each load, ordered by temperature, are cut at one point or not at all; on one side
    of the cuts all cells share the level of the sharp phase, on the other that of the flat one.
    Cuts and levels together minimise the squared deviation, by alternation from Otsu's split of
    all values. The threshold is halfway between the levels. Which end is sharp is found, the same
    for all loads.

    Uniform samples are compared with the profiles along temperature of those loads that change
    phase, pooled: a drift of the sharp level from load to load does not hide a transition that is
    abrupt at each load. Where no load changes, they are compared with all values at once.

    Args:
        values: (cells,) log sharpness, finite.
        load: (cells,) the load-like knob.
        temperature: (cells,) the temperature-like knob, sortable.

    Raises:
        ValueError: Fewer than four cells, or no two groups (module docstring).
    """
    _enough("sharpness", values)
    cut, profiles = sharpness_level(values, load, temperature), _profiles(values, load, temperature)
    changing = [each for each in profiles if (each > cut).any() and (each <= cut).any()]
    return _judged("sharpness", values > cut, values, cut, *_evidence(changing or [values]))


def connectivity_split(values: Number, *, spread: Number | None = None) -> Split:
    """Find how negative connectivity must be to count as a barrier.

    With ``spread``, the threshold is minus twice the median standard deviation between pairs: what
    is closer to zero is no barrier as far as the repeats can tell. Without, it is Otsu's split of
    log(1 + barrier in percentage points), barrier = max(0, -connectivity): barriers range over
    orders of magnitude, and below one point the logarithm flattens, so that differences between
    well connected cells do not count.

    Args:
        values: (cells,) mode connectivity in percentage points, finite.
        spread: (cells,) standard deviation between the pairs of each cell; NaN where unknown.

    Raises:
        ValueError: Fewer than four cells or no two groups (module docstring), or a spread that is
            nowhere known or zero.
    """
    if spread is not None:
        known = spread[np.isfinite(spread)]
        tolerance = 2.0 * float(np.median(known)) if len(known) else 0.0
        if not tolerance > 0.0:
            raise ValueError(
                f"connectivity_spread has {len(known)} known values of median {tolerance / 2:.3g}, "
                "from which no tolerance follows; give connectivity_threshold as a number"
            )
        poor = int((values < -tolerance).sum())
        return Split(
            threshold=-tolerance,
            below=poor,
            above=len(values) - poor,
            explained=float("nan"),
            p_value=float("nan"),
        )
    _enough("connectivity", values)
    cut = connectivity_level(values)
    return _judged("connectivity", values >= cut, values, cut, *_evidence([_barriers(values)]))


def similarity_split(values: Number) -> Split:
    """Find the level between dissimilar and similar among the cells of phase IV.

    Two normal laws of one width are fitted. Where BIC favours them over a single law (``.gain`` is
    positive), the threshold is where both are equally likely. Else the values are one group, as a
    smooth crossover gives, and the threshold is Otsu's split of it: a convention.

    Args:
        values: (cells,) CKA of the flat, well connected cells, finite.

    Raises:
        ValueError: Fewer than four cells, or groups no further apart than training noise.
    """
    _enough("similarity", values)
    cut, gain = similarity_level(values)
    split = _judged("similarity", values >= cut, values, cut, _explained([values]), float("nan"))
    return replace(split, gain=gain)


def sharpness_level(values: Number, load: NDArray[Any], temperature: NDArray[Any]) -> float:
    """The threshold of :func:`sharpness_split`, whether or not there are two groups."""
    profiles = _profiles(values, load, temperature)
    directions = (profiles, [profile[::-1] for profile in profiles])
    return max((_two_levels(each) for each in directions), key=lambda found: found[1])[0]


def connectivity_level(values: Number) -> float:
    """The threshold of :func:`connectivity_split` without repeats, likewise."""
    return -float(np.expm1(_otsu(_barriers(values))))


def similarity_level(values: Number) -> tuple[float, float]:
    """The threshold of :func:`similarity_split`, likewise, and BIC in favour of two laws."""
    cut = _otsu(values)
    if values.min() == values.max():
        return cut, float("nan")
    found = two_normals(values, start=cut, least_deviation=MARGIN_UNITS["similarity"] / 10.0)
    return (found.threshold if found.gain > 0.0 else cut), found.gain


def _profiles(values: Number, load: NDArray[Any], temperature: NDArray[Any]) -> list[Number]:
    """The values of each load, ordered by temperature."""
    return [
        values[load == one][np.argsort(temperature[load == one], kind="stable")]
        for one in np.unique(load)
    ]


def _barriers(values: Number) -> Number:
    return np.asarray(np.log1p(np.maximum(-values, 0.0)))


def _enough(metric: str, values: Number) -> None:
    if len(values) < FEWEST:
        raise ValueError(
            f'{metric}_threshold="data" needs at least {FEWEST} measured cells, got '
            f"{len(values)}; give it as a number"
        )


def _judged(
    metric: str,
    high: NDArray[np.bool_],
    values: Number,
    threshold: float,
    explained: float,
    p_value: float,
) -> Split:
    """The split of ``values`` into ``high`` and others, if both questions are answered yes."""
    apart = float(values[high].mean() - values[~high].mean()) if 0 < high.sum() < len(high) else 0.0
    least = 2.0 * MARGIN_UNITS[metric]
    if not apart > least or p_value > _SIGNIFICANCE:
        raise ValueError(
            f'{metric}_threshold="data": the {len(values)} cells show no two groups (means '
            f"{apart:.3g} apart, more than {least:.3g} needed; p = {p_value:.3g} against a single "
            f"group, at most {_SIGNIFICANCE} needed where known); give it as a number"
        )
    return Split(
        threshold=threshold,
        below=int((~high).sum()),
        above=int(high.sum()),
        explained=explained,
        p_value=p_value,
    )


def _otsu(values: Number) -> float:
    """Midpoint between the two groups of the best least-squares split."""
    ordered = np.sort(values)
    cut = int(_between(ordered[None])[0].argmax())
    return float(ordered[cut] + ordered[cut + 1]) / 2.0


def _between(ordered: Number) -> Number:
    """(r, n) sorted samples -> (r, n - 1) sums of squares between the groups of each split."""
    count = ordered.shape[1]
    left = np.arange(1, count)
    sums = ordered.cumsum(axis=1)
    gap = sums[:, :-1] / left - (sums[:, -1:] - sums[:, :-1]) / (count - left)
    return np.asarray(left * (count - left) * gap**2 / count)


def _two_levels(profiles: list[Number]) -> tuple[float, float]:
    """Fit profiles that are high up to a change point of their own and low after it.

    Returns the midpoint of the two shared levels and the share of variance that they explain.
    """
    values = np.concatenate(profiles)
    total = float(((values - values.mean()) ** 2).sum())
    start = _otsu(values)
    if total == 0.0:
        return start, 0.0
    high, low = float(values[values > start].mean()), float(values[values <= start].mean())
    explained = 0.0
    # Each round lowers the squared deviation or is the last, and there are finitely many cuts.
    while True:
        heads, tails, cost = [], [], 0.0
        for profile in profiles:
            as_high = np.concatenate([[0.0], np.cumsum((profile - high) ** 2)])
            as_low = np.concatenate([np.cumsum((profile - low)[::-1] ** 2)[::-1], [0.0]])
            cut = int((as_high + as_low).argmin())
            cost += float(as_high[cut] + as_low[cut])
            heads.append(profile[:cut])
            tails.append(profile[cut:])
        head, tail = np.concatenate(heads), np.concatenate(tails)
        if not len(head) or not len(tail) or 1.0 - cost / total <= explained:
            return (high + low) / 2.0, explained
        explained, high, low = 1.0 - cost / total, float(head.mean()), float(tail.mean())


def _explained(profiles: list[Number]) -> float:
    """Share of the variance within profiles that lies between the best two groups of each."""
    between = sum(float(_between(np.sort(each)[None]).max()) for each in profiles)
    total = sum(float(((each - each.mean()) ** 2).sum()) for each in profiles)
    return between / total if total > 0.0 else 0.0


def _evidence(profiles: list[Number]) -> tuple[float, float]:
    """:func:`_explained` and the share of uniform samples of the same sizes that reach it."""
    explained = _explained(profiles)
    random = np.random.default_rng(0)
    between, total = np.zeros(_UNIFORM_DRAWS), np.zeros(_UNIFORM_DRAWS)
    for each in profiles:
        samples = np.sort(random.random((_UNIFORM_DRAWS, len(each))), axis=1)
        between += _between(samples).max(axis=1)
        total += samples.var(axis=1) * len(each)
    reached = int((between / total >= explained).sum())
    return explained, (1 + reached) / (1 + _UNIFORM_DRAWS)

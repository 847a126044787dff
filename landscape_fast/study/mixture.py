"""Two groups in a sample: a mixture of two normal laws of one width."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Number = NDArray[np.float64]

_STEPS = 1000
_SETTLED = 1e-10  # change of the mean log-likelihood in one step


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Two normal laws with one standard deviation, fitted to a sample."""

    means: tuple[float, float]  # ascending
    deviation: float
    weight: float  # of the upper law
    gain: float  # BIC of a single normal law less that of the mixture; below 0 one law is enough

    @property
    def threshold(self) -> float:
        """Where both laws are equally likely; a single one, as they are equally wide."""
        low, high = self.means
        shift = math.log((1.0 - self.weight) / self.weight) * self.deviation**2 / (high - low)
        return (low + high) / 2.0 + shift

    def upper(self, values: Number) -> Number:
        """Probability that each value comes from the upper law."""
        low, high = self.means
        slope = (high - low) / self.deviation**2
        return np.asarray(1.0 / (1.0 + np.exp(-slope * (values - self.threshold))))


def two_normals(values: Number, *, start: float, least_deviation: float) -> Mixture:
    """Fit by expectation and maximisation (Dempster, Laird and Rubin 1977).

    Args:
        values: (n,) finite sample.
        start: Cut between the groups from which the fit begins; values lie on both sides.
        least_deviation: Bound below on the deviation, where each group is nearly one value.

    References:
        Dempster, Laird and Rubin (1977), doi:10.1111/j.2517-6161.1977.tb01600.x. Schwarz (1978),
        doi:10.1214/aos/1176344136, for BIC, with two parameters more than a single law.

    Example:
        >>> sample = np.array([0.0, 0.1, -0.1, 1.0, 1.1, 0.9])
        >>> found = two_normals(sample, start=0.4, least_deviation=1e-3)
        >>> [round(mean, 3) for mean in found.means], round(found.threshold, 3), found.gain > 0
        ([0.0, 1.0], 0.5, True)
    """
    upper = (values > start).astype(np.float64)
    likelihood = -math.inf
    for _ in range(_STEPS):
        weight = float(upper.mean())
        high = float(upper @ values / upper.sum())
        low = float((1.0 - upper) @ values / (1.0 - upper).sum())
        spread = upper @ (values - high) ** 2 + (1.0 - upper) @ (values - low) ** 2
        deviation = max(math.sqrt(float(spread) / len(values)), least_deviation)
        laws = np.stack(
            [
                math.log(share) - (values - mean) ** 2 / (2.0 * deviation**2)
                for share, mean in ((1.0 - weight, low), (weight, high))
            ]
        )
        total = np.logaddexp(*laws)
        upper = np.clip(np.exp(laws[1] - total), 1e-12, 1.0 - 1e-12)
        before, likelihood = likelihood, float(total.mean()) - math.log(deviation)
        if likelihood - before < _SETTLED:
            break
    single = max(float(values.std()), least_deviation)
    alone = -float(values.var()) / (2.0 * single**2) - math.log(single)
    gain = 2.0 * len(values) * (likelihood - alone) - 2.0 * math.log(len(values))
    return Mixture(means=(low, high), deviation=deviation, weight=weight, gain=gain)

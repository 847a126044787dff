"""A sum of several estimated parts: draws go where they lower its error most for their price."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast.krylov.trace import PILOT_DRAWS, require_bounds


@dataclass(frozen=True, slots=True)
class Part:
    """A number that independent unbiased draws estimate.

    Args:
        draw: ``draw(first, count)`` returns draws ``first .. first + count - 1``, (count, p)
            float64, whose sums over p estimate the part.
        price: Of one draw, in passes over the data.
        block: Draws asked for at once.
    """

    draw: Callable[[int, int], Tensor]
    price: float
    block: int = 8


class Estimated:
    """The sum of the means of several sets of draws.

    Args:
        draws: Of each part, (r, p) float64, independent.

    Attributes:
        value: Sum over parts and p.
        variance: Of ``value``.
        freedom: Degrees of freedom of ``variance`` (Satterthwaite 1946, doi:10.2307/3002019); None
            without draws.
        means: (p,), sums over parts; zeros without draws, or where a part has no p of its own.
        variances: (p,), of ``means``.
    """

    def __init__(self, draws: Sequence[Tensor]) -> None:
        self._sums = [drawn.sum(1) for drawn in draws]
        self.value = sum((float(drawn.mean()) for drawn in self._sums), 0.0)
        self._variances = [float(drawn.var()) / len(drawn) for drawn in self._sums]
        self.variance = sum(self._variances, 0.0)
        terms = zip(self._variances, self._sums, strict=True)
        spread = sum((v * v / (len(drawn) - 1) for v, drawn in terms), 0.0)
        known = self.variance**2 / spread if spread > 0 else math.inf
        self.freedom = known if draws else None
        zero = torch.zeros((), dtype=torch.float64)
        self.means = sum((drawn.mean(0) for drawn in draws), zero)
        self.variances = sum((drawn.var(0) / len(drawn) for drawn in draws), zero)

    def dearest(self) -> Tensor:
        """(r,) draws of the part of largest variance, less their mean; one zero without draws."""
        if not self._sums:
            return torch.zeros(1, dtype=torch.float64)
        main = self._sums[max(range(len(self._sums)), key=self._variances.__getitem__)]
        return main - main.mean()


def sum_until(
    parts: Sequence[Part],
    known: float = 0.0,
    *,
    rtol: float,
    atol: float,
    max_products: float,
) -> tuple[list[Tensor], bool]:
    """Draw until the standard error of ``known`` plus all parts is small enough.

    After a pilot the number of draws of part k is in proportion to its standard deviation over the
    root of its price, which is the least price for an error (Neyman 1934, doi:10.2307/2342192).

    Args:
        parts: At least one.
        known: The rest of the sum, without error.
        rtol: Standard error wanted, relative to the sum.
        atol: The same, absolute; the looser of both ends the run.
        max_products: Bound on passes over the data; the pilot is drawn whatever it costs.

    Returns:
        The draws of each part, (r, p), and whether the error is as small as wanted.
    """
    require_bounds(rtol, atol, max_products)
    draws = [_more(part, None, PILOT_DRAWS) for part in parts]
    while True:
        found, spent = Estimated(draws), _spent(parts, draws)
        allowed = max(rtol * abs(known + found.value), atol)
        if found.variance <= allowed**2 or spent >= max_products:
            return draws, found.variance <= allowed**2
        wanted = _neyman(parts, draws, allowed)
        # Few, large looks: stopping at the first lucky look would bias the error down.
        goals = [
            max(len(drawn), math.ceil(min(1.1 * goal, 4 * len(drawn))))
            for drawn, goal in zip(draws, wanted, strict=True)
        ]
        if all(goal < 1.25 * len(drawn) for goal, drawn in zip(goals, draws, strict=True)):
            main = max(range(len(parts)), key=lambda k: wanted[k] / len(draws[k]))
            goals[main] = math.ceil(1.25 * len(draws[main]))
        share = _affordable(parts, draws, goals, max_products - spent)
        draws = [
            _more(part, drawn, len(drawn) + math.ceil(share * (goal - len(drawn))))
            for part, drawn, goal in zip(parts, draws, goals, strict=True)
        ]


def _more(part: Part, drawn: Tensor | None, goal: int) -> Tensor:
    found = [] if drawn is None else [drawn]
    count = 0 if drawn is None else len(drawn)
    while count < goal:
        size = min(part.block, goal - count)
        found.append(part.draw(count, size))
        count += size
    return torch.cat(found)


def _spent(parts: Sequence[Part], draws: Sequence[Tensor]) -> float:
    return sum(part.price * len(drawn) for part, drawn in zip(parts, draws, strict=True))


def _neyman(parts: Sequence[Part], draws: Sequence[Tensor], allowed: float) -> list[float]:
    deviations = [float(drawn.sum(1).std()) for drawn in draws]
    roots = [math.sqrt(part.price) for part in parts]
    scale = sum(s * c for s, c in zip(deviations, roots, strict=True))
    if not allowed > 0:
        return [math.inf] * len(parts)
    return [s / c * scale / allowed**2 for s, c in zip(deviations, roots, strict=True)]


def _affordable(
    parts: Sequence[Part], draws: Sequence[Tensor], goals: Sequence[int], budget: float
) -> float:
    """Share of the wanted draws that ``budget`` pays for."""
    cost = sum(
        part.price * (goal - len(drawn))
        for part, drawn, goal in zip(parts, draws, goals, strict=True)
    )
    return min(1.0, budget / cost) if cost > 0 else 1.0

"""A sum of several estimated parts: draws go where they lower its error most for their price."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast.arguments import require_number, require_whole

PILOT_DRAWS = 16  # a standard error from fewer draws is too unsure to stop on


@dataclass(frozen=True, slots=True)
class Part:
    """A number that independent unbiased draws estimate.

    Args:
        draw: ``draw(first, count)`` returns draws ``first .. first + count - 1``, (count, p)
            float64, whose sums over p estimate the part.
        price: Of one draw, in passes over the data.
        block: Draws asked for at once.
        exact: Returns the part itself, (p,) float64, if there is a way to sum it.
        exact_price: Of summing it.
        larger: The same number by fewer draws that see more each, for where many are wanted.
    """

    draw: Callable[[int, int], Tensor]
    price: float
    block: int = 8
    exact: Callable[[], Tensor] | None = None
    exact_price: float = math.inf
    larger: Part | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of the parts of a sum."""

    draws: list[Tensor]  # of each part, (r, p); two equal rows of a part that was summed
    converged: bool  # whether the error is as small as wanted
    spent: list[float]  # on each part, passes over the data


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
    max_products: int,
) -> Drawn:
    """Draw until the standard error of ``known`` plus all parts is small enough.

    After a pilot the number of draws of part k is in proportion to its standard deviation over the
    root of its price, which is the least price for an error (Neyman 1934, doi:10.2307/2342192).
    A part that is dearer to draw than to sum is summed.

    Args:
        parts: At least one.
        known: The rest of the sum, without error.
        rtol: Standard error wanted, relative to the sum.
        atol: The same, absolute; the looser of both ends the run.
        max_products: Bound on passes over the data; two draws of each part are made whatever they
            cost. Callers check these three, before they compute anything.
    """
    run = _Run(parts, max_products)
    while True:
        found = Estimated(run.draws)
        allowed = max(rtol * abs(known + found.value), atol)
        if found.variance <= allowed**2:
            return Drawn(run.draws, converged=True, spent=run.spent)
        wanted = _neyman(run.parts, run.draws, allowed)
        if not (run.summed(wanted) or run.coarsened(wanted) or run.enlarged(wanted)):
            return Drawn(run.draws, converged=False, spent=run.spent)


class _Run:
    """The draws made so far, and what they cost."""

    def __init__(self, parts: Sequence[Part], budget: float) -> None:
        self.parts, self._budget = list(parts), budget
        pilot = max(2, math.floor(min(PILOT_DRAWS, budget / sum(p.price for p in parts))))
        self.spent = [0.0] * len(parts)
        self.draws = [torch.empty(0, dtype=torch.float64)] * len(parts)
        summed = [part.exact_price <= min(pilot * part.price, budget) for part in parts]
        for k, at_once in enumerate(summed):
            self._sum(k) if at_once else self._draw(k, pilot)

    def summed(self, wanted: Sequence[float]) -> bool:
        """Sum the first part that is dearer to draw; whether there was one."""
        for k, part in enumerate(self.parts):
            drawing = part.price * (wanted[k] - len(self.draws[k]))
            if part.exact_price < min(drawing, self._left()):
                self._sum(k)
                return True
        return False

    def coarsened(self, wanted: Sequence[float]) -> bool:
        """Go over to larger draws where many small ones cost more; whether a part did.

        The draws so far are given up: they say how many are wanted, and others then do the work.
        """
        for k, part in enumerate(self.parts):
            if part.larger is None:
                continue
            pilot = PILOT_DRAWS * part.larger.price
            missing = part.price * (wanted[k] - len(self.draws[k]))
            if pilot < min(missing, self._left()):
                self.parts[k], self.draws[k] = part.larger, self.draws[k][:0]
                self._draw(k, PILOT_DRAWS)
                return True
        return False

    def enlarged(self, wanted: Sequence[float]) -> bool:
        """Draw more, in proportion to what is wanted; False if the budget does not allow it."""
        have = [len(drawn) for drawn in self.draws]
        # Few, large looks: stopping at the first lucky look would bias the error down.
        goals = [
            max(n, math.ceil(min(1.1 * goal, 4 * n))) for n, goal in zip(have, wanted, strict=True)
        ]
        if all(goal < 1.25 * n for goal, n in zip(goals, have, strict=True)):
            main = max(range(len(have)), key=lambda k: wanted[k] / have[k])
            goals[main] = math.ceil(1.25 * have[main])
        missing = [goal - n for goal, n in zip(goals, have, strict=True)]
        cost = sum(part.price * count for part, count in zip(self.parts, missing, strict=True))
        share = min(1.0, self._left() / cost) * (1 + 1e-12)
        counts = [math.floor(share * count) for count in missing]
        for k, count in enumerate(counts):
            self._draw(k, count)
        return any(count > 0 for count in counts)

    def _left(self) -> float:
        return self._budget - sum(self.spent)

    def _draw(self, k: int, more: int) -> None:
        part, found = self.parts[k], [self.draws[k]]
        first, last = len(self.draws[k]), len(self.draws[k]) + more
        while first < last:
            size = min(part.block, last - first)
            found.append(part.draw(first, size))
            first += size
        self.draws[k] = torch.cat([drawn for drawn in found if len(drawn)])
        self.spent[k] += part.price * more

    def _sum(self, k: int) -> None:
        exact = self.parts[k].exact
        assert exact is not None
        self.draws[k] = exact().expand(2, -1)
        self.spent[k] += self.parts[k].exact_price


def _neyman(parts: Sequence[Part], draws: Sequence[Tensor], allowed: float) -> list[float]:
    """Draws of each part that reach the ``allowed`` error at the least price."""
    deviations = [float(drawn.sum(1).std()) for drawn in draws]
    if not allowed > 0:
        return [math.inf if deviation else 0.0 for deviation in deviations]
    roots = [math.sqrt(part.price) for part in parts]
    scale = sum(s * c for s, c in zip(deviations, roots, strict=True))
    return [s / c * scale / allowed**2 for s, c in zip(deviations, roots, strict=True)]


def require_bounds(rtol: float, atol: float, max_products: int, *, fewest: int = 2) -> None:
    """Check what ends a run of draws.

    Raises:
        ValueError: An argument is out of range.
        TypeError: It is no number.
    """
    require_number(least=0, rtol=rtol, atol=atol)
    require_whole(fewest, max_products=max_products)

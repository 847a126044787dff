"""Which ends of a spectrum are wanted, and in which order they are reported."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WHICH = ("largest", "smallest", "magnitude", "both")


@dataclass(frozen=True, slots=True)
class Ends:
    """The wanted among ascending Ritz values: some of the largest and some of the smallest."""

    order: Tensor  # (l,) indices of the wanted, in the order of the report; l <= k
    top: int  # how many of them are the largest
    bottom: int  # how many of them are the smallest
    by_size: bool  # the two compete: what is left out at either end is below both

    @staticmethod
    def of(theta: Tensor, k: int, which: str) -> Ends:
        """Choose k of ascending ``theta``, fewer where there are fewer."""
        m = len(theta)
        k, places = min(k, m), torch.arange(m)
        if which == "smallest":
            return Ends(places[:k], 0, k, False)
        if which == "largest":
            return Ends(places.flip(0)[:k], k, 0, False)
        if which == "magnitude":
            # The wanted come from both ends, so equal sizes are taken there and not in between.
            order = theta.abs().argsort(descending=True, stable=True)[:k]
            bottom = int((theta[order] < 0).sum())
            chosen = torch.cat([places[m - k + bottom :], places[:bottom]])
            order = chosen[theta[chosen].abs().argsort(descending=True, stable=True)]
            return Ends(order, k - bottom, bottom, True)
        top, bottom = k - k // 2, k // 2
        order = torch.cat([places[m - top :], places[:bottom]]).sort().values.flip(0)
        return Ends(order, top, bottom, False)

    def level(self, theta: Tensor, sign: int) -> float | None:
        """The last wanted value at an end, times its sign; None where that end is not wanted."""
        wanted = theta[self.order]
        if self.by_size:
            return float(wanted.abs().min())
        count = self.top if sign > 0 else self.bottom
        return float((sign * theta).sort(descending=True).values[count - 1]) if count else None

    def others(self, m: int, sign: int) -> slice:
        """Which of m ascending Ritz values are not wanted at an end."""
        return slice(0, m - self.top) if sign > 0 else slice(self.bottom, m)

    def cut(self, theta: Tensor, slack: float) -> bool:
        """Whether a Ritz value follows within ``slack`` of the last wanted one at either end."""
        for sign in (1, -1):
            level, rest = self.level(theta, sign), sign * theta[self.others(len(theta), sign)]
            if level is not None and len(rest) and float(rest.max()) >= level - slack:
                return True
        return False

"""Isolated eigenvalues at the ends of a spectrum that several random starts have seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast.results.brief import brief


@dataclass(frozen=True, slots=True, kw_only=True)
class Outliers:
    """Eigenvalues apart from the bulk, descending, with the mass that each start gives them."""

    values: Tensor  # (k,) float64, mean over starts
    spread: Tensor  # (k,) float64, standard deviation over starts
    draws: Tensor  # (r, k) float64, n times the weight: unbiased for the multiplicity

    __repr__ = brief

    @property
    def multiplicity(self) -> Tensor:
        """Estimated number of eigenvalues at each value, (k,) float64."""
        return self.draws.mean(0)

    @property
    def stderr(self) -> Tensor:
        """Standard error of every multiplicity, (k,) float64."""
        return _deviation(self.draws) / math.sqrt(len(self.draws))

    @property
    def count(self) -> tuple[float, float]:
        """Number of all outliers with their multiplicities, and its standard error."""
        total = self.draws.sum(1)
        return float(total.mean()), float(_deviation(total)) / math.sqrt(len(total))

    def __len__(self) -> int:
        return len(self.values)


RESOLVED = 0.1  # of its distance to the next node, that a node may be off an eigenvalue


def find_outliers(
    nodes: Tensor,
    weights: Tensor,
    residuals: Tensor,
    *,
    dimension: int,
    rounding: float,
    gap: float,
) -> Outliers:
    """Converged nodes at both ends that starts agree on, beyond a gap longer than ``gap``.

    Args:
        nodes: (r, m), ascending in every row but for unused ones at its end.
        weights: (r, m), zero where unused.
        residuals: (r, m), how far from a node the next eigenvalue may be.
        dimension: n.
        rounding: Nodes of one start closer than this are one.
        gap: Least length of the interval.
    """
    table = torch.stack([nodes, weights, residuals], 2)
    starts = [_merged(rows[rows[:, 1] > 0], rounding) for rows in table]
    shortest = min(map(len, starts))
    top = torch.stack([rows.flip(0)[:shortest] for rows in starts])
    bottom = torch.stack([rows[:shortest] for rows in starts])
    upper = top[:, : _resolved(top[..., 0], top[..., 1], top[..., 2], gap)]
    lower = bottom[:, : _resolved(-bottom[..., 0], bottom[..., 1], bottom[..., 2], gap)].flip(1)
    found = torch.cat([upper, lower], 1)
    return Outliers(
        values=found[..., 0].mean(0),
        spread=_deviation(found[..., 0]),
        draws=dimension * found[..., 1],
    )


def _merged(rows: Tensor, rounding: float) -> Tensor:
    """Ascending rows (node, weight, residual), those within rounding of the one before added to it.

    Copies of a multiple eigenvalue enter a Krylov space by rounding, with hardly any weight.
    """
    kept = [rows[0].clone()]
    for row in rows[1:]:
        if float(row[0] - kept[-1][0]) > rounding:
            kept.append(row.clone())
        elif row[1] > kept[-1][1]:
            kept[-1] = torch.stack([row[0], row[1] + kept[-1][1], row[2]])
        else:
            kept[-1][1] += row[1]
    return torch.stack(kept)


def _resolved(nodes: Tensor, weights: Tensor, residuals: Tensor, gap: float) -> int:
    """How many of the leading columns of descending ``nodes`` (r, m) are apart from the rest."""
    high, low = nodes.amax(0), nodes.amin(0)
    apart = low[:-1] - high[1:]  # from each node to the next over all starts
    agree = (high - low)[:-1] <= RESOLVED * apart
    # Nodes in a bulk agree as well: they follow its density. But no eigenvector is behind them.
    agree &= residuals.amax(0)[:-1] <= RESOLVED * apart
    outside = weights.mean(0).cumsum(0)[:-1] < 0.5
    resolved = (agree & outside).long().cumprod(0).bool()
    beyond = (resolved & (apart > gap)).nonzero()
    return int(beyond[-1]) + 1 if len(beyond) else 0


def _deviation(draws: Tensor) -> Tensor:
    """Standard deviation over starts (r, ...); nan for a single one."""
    if len(draws) < 2:
        return torch.full_like(draws[0], math.nan)
    return ((draws - draws.mean(0)).square().sum(0) / (len(draws) - 1)).sqrt()

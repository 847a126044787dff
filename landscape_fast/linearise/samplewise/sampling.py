"""Which directions of the output curvature are taken for certain, and draws among the rest.

A direction s of row n adds ``|J_n^T s|^2`` to the trace; its curvature, the squared length of s, is
known after one forward pass and is nearly in proportion to it. So the few directions of largest
curvature are all taken, and the others are drawn with probability in proportion to curvature and
weighted by one over it (Horvitz and Thompson 1952, doi:10.1080/01621459.1952.10483446).

The draws of one group lie at equal steps along the running sum of curvatures, from a random start
(Madow 1949, doi:10.1214/aoms/1177729988): a group holds large and small directions in the same
proportion as the data. Groups have starts of their own, so they are independent and unbiased, and
their spread is the error of their mean, between rows and between directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Variation of |J^T s|^2 / |s|^2 between directions, by which draws are planned. It decides what is
# cheapest and not what is claimed: the draws themselves say their error. Measured in docs/trace.md.
SPREAD = 0.5
GROUPS = 16  # before their spread is believed
# Price of a cotangent and of the primal pass of its row, in forward passes of that row.
COTANGENT, PRIMAL = 2.0, 1.0


def split(sizes: Tensor, rtol: float, group: int) -> tuple[Tensor, bool]:
    """Choose the directions that are all taken, at the least price for an error.

    Args:
        sizes: (N, R) curvature of each direction of each row, not negative.
        rtol: Standard error wanted, relative to the sum over all directions; 0 takes all of them.
        group: Draws of one group.

    Returns:
        (N, R) bool, and whether drawing the others is cheaper than taking them all.
    """
    flat, order = sizes.flatten().sort(descending=True)
    count = int((flat > 0).sum())
    chosen = torch.zeros(sizes.numel(), dtype=torch.bool, device=sizes.device)
    if count == 0 or rtol == 0:
        chosen[order[:count]] = True
        return chosen.reshape(sizes.shape), False
    flat, order = flat[:count], order[:count]
    rows = order // sizes.shape[1]
    # A row's primal pass is paid with its first direction.
    first = torch.full((sizes.shape[0],), count, device=sizes.device)
    places = torch.arange(count, device=sizes.device)
    first.scatter_reduce_(0, rows, places, "amin")
    price = (COTANGENT + PRIMAL * (first[rows] == places)).cumsum(0)
    left = (1 - flat.cumsum(0) / flat.sum()).clamp_min(0)
    taken = torch.cat([price.new_zeros(1), price])
    left = torch.cat([left.new_ones(1), left])
    draws = (SPREAD * left / rtol).square().clamp_min(GROUPS * group)
    total = taken + (COTANGENT + PRIMAL) * draws
    best = int(total.argmin())
    if total[best] >= price[-1]:
        best = count
    chosen[order[:best]] = True
    return chosen.reshape(sizes.shape), best < count


def largest(sizes: Tensor, share: float) -> Tensor:
    """(N, R) bool: all but the smallest directions, which sum to at most ``share`` of the total."""
    ordered, _ = sizes.flatten().sort()
    sums = ordered.cumsum(0)
    count = int((sums <= share * sums[-1]).sum())
    return sizes > (float(ordered[count - 1]) if count else 0.0)


def systematic(sizes: Tensor, count: int, *, seed: int, index: int) -> tuple[Tensor, Tensor]:
    """Draw a group in proportion to size.

    Args:
        sizes: (M,) not negative, not all zero.
        count: Draws.
        seed: Chooses the start, together with ``index``.
        index: Of the group.

    Returns:
        Places in ``sizes`` in ascending order, each once, and a weight for each: the weighted sum
        of anything over them has the sum over all of ``sizes`` as its mean.
    """
    generator = torch.Generator().manual_seed(_key(seed, index))
    start = float(torch.rand((), generator=generator, dtype=torch.float64))
    sums = sizes.double().cumsum(0)
    points = (start + torch.arange(count, dtype=torch.float64)) * (float(sums[-1]) / count)
    drawn = torch.searchsorted(sums, points.to(sums.device), right=True).clamp_max(len(sizes) - 1)
    places, times = drawn.unique(return_counts=True)
    return places, times * float(sums[-1]) / (count * sizes[places].double())


def _key(seed: int, index: int) -> int:
    """Another number for another pair; spread over all bits, since nearby seeds may be alike."""
    mixed = (seed * 0x9E3779B97F4A7C15 + index * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
    mixed = (mixed ^ (mixed >> 31)) * 0xD6E8FEB86659FD93 % 2**64
    return (mixed ^ (mixed >> 32)) % 2**63

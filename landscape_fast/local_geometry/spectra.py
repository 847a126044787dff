"""What is read off a list of eigenvalues: the gap under its top, its largest along a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from landscape_fast.arguments import require_whole_or_none
from landscape_fast.results import CurvatureTransient, EigenvalueGap


def largest_gap(values: Tensor, limit: int | None = None) -> EigenvalueGap:
    """The largest ratio between neighbours at the top of a spectrum, and how many lie above it.

    Of classifiers the count is expected near the number C of classes, C - 1 where outputs are
    curved alone. Any list has a largest ratio: look at ``ratio`` before believing the count.

    Args:
        values: Eigenvalues, descending, (k,); those that are not positive end the list.
        limit: Largest count considered; None for all but the last value. Ratios grow without bound
            towards zero, so lists that reach it need this.

    Raises:
        ValueError: There are fewer than two positive values, they do not descend, or ``limit`` is
            below 1.

    Example:
        >>> largest_gap(torch.tensor([9.0, 8.0, 1.0, 0.9])).count
        2
    """
    known = values.double().cpu()
    if values.dim() != 1 or (known.diff() > 0).any():
        raise ValueError(f"values must descend along one axis, got shape {tuple(values.shape)}")
    known = known[known > 0]
    if len(known) < 2:
        raise ValueError(f"values must hold at least 2 above zero, got {len(known)}")
    require_whole_or_none(1, limit=limit)
    ratios = (known[:-1] / known[1:])[:limit]
    place = int(ratios.argmax())
    return EigenvalueGap(
        count=place + 1,
        ratio=float(ratios[place]),
        above=float(known[place]),
        below=float(known[place + 1]),
    )


def transient(steps: Sequence[int], values: Sequence[float]) -> CurvatureTransient:
    """Where along a run a quantity is largest, and how far it rises and falls.

    Args:
        steps: Of the run, ascending.
        values: At each, finite; the largest eigenvalue as a rule.

    Raises:
        ValueError: Both are empty, differ in length or hold values that are not finite, or steps do
            not ascend.

    Example:
        >>> found = transient([0, 10, 20], [1.0, 4.0, 2.0])
        >>> found.peak_step, found.rise, found.fall
        (10, 4.0, 0.5)
    """
    series = torch.tensor(list(values), dtype=torch.float64)
    if not len(series) or len(steps) != len(series):
        raise ValueError(f"steps has {len(steps)} entries for {len(series)} values, need some")
    if any(one >= other for one, other in pairwise(steps)):
        raise ValueError("steps must ascend")
    if not torch.isfinite(series).all():
        raise ValueError("values must be finite")
    place = int(series.argmax())
    return CurvatureTransient(
        peak_step=steps[place],
        initial=float(series[0]),
        peak=float(series[place]),
        final=float(series[-1]),
    )

"""Gaps and transients of lists that are known."""

from __future__ import annotations

import math

import pytest
import torch

from landscape_fast.local_geometry.spectra import largest_gap, transient


def test_the_gap_is_the_largest_ratio():
    found = largest_gap(torch.tensor([8.0, 6.0, 5.0, 0.5, 0.4, -1.0]))
    assert (found.count, found.ratio, found.above, found.below) == (3, 10.0, 5.0, 0.5)


def test_only_counts_up_to_the_limit_are_considered():
    values = torch.tensor([8.0, 4.0, 3.0, 1e-9])
    assert largest_gap(values).count == 3
    assert largest_gap(values, limit=2).count == 1


def test_a_transient_is_peak_over_ends():
    found = transient([0, 5, 7, 9], [2.0, 6.0, 8.0, 1.0])
    assert (found.peak_step, found.rise, found.fall) == (7, 4.0, 1 / 8)
    falling = transient([0, 1], [3.0, 1.0])
    assert (falling.peak_step, falling.rise) == (0, 1.0)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="values must descend"):
        largest_gap(torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="at least 2 above zero"):
        largest_gap(torch.tensor([1.0, -2.0]))
    with pytest.raises(ValueError, match="limit must be"):
        largest_gap(torch.tensor([2.0, 1.0]), limit=0)
    with pytest.raises(ValueError, match="steps must ascend"):
        transient([0, 0], [1.0, 2.0])
    with pytest.raises(ValueError, match="2 entries for 1 values"):
        transient([0, 1], [1.0])
    with pytest.raises(ValueError, match="values must be finite"):
        transient([0, 1], [1.0, math.nan])

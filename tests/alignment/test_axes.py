"""Factors of axes are joined, split and held still."""

from __future__ import annotations

import pytest

from landscape_fast.alignment.axes import Factors, UnmatchedError


def test_a_split_reaches_everyone_who_shares_the_factor():
    factors = Factors()
    one, other = factors.new(12), factors.new(12)
    factors.join(one, other)
    heads, width = factors.new(3), factors.new(4)
    factors.join(other, (*heads, *width))
    assert factors.sizes(one) == (3, 4)
    assert factors.of(one) == factors.of((*heads, *width))


def test_a_reason_to_stay_spreads_to_joined_and_split_factors():
    factors = Factors()
    one, other = factors.new(6), factors.new(6)
    factors.hold([one], "first")
    factors.join(other, one)
    factors.join(one, (*factors.new(2), *factors.new(3)))
    factors.hold([other], "second")
    assert [factors.why_still(f) for f in factors.of(other)] == ["first", "first"]


def test_a_flattened_image_is_channels_times_positions():
    factors = Factors()
    channels, positions = factors.fresh((5, 4))
    (flat,) = factors.regroup((channels, positions), (20,))
    weight = factors.new(20)
    factors.join(flat, weight)
    assert factors.of(weight) == factors.of((*channels, *positions))
    again = factors.regroup((flat,), (5, 1, 2, 2))
    assert [factors.sizes(axis) for axis in again] == [(5,), (), (2,), (2,)]


def test_axes_without_a_common_cut_are_refused():
    factors = Factors()
    with pytest.raises(UnmatchedError):
        factors.join((*factors.new(2), *factors.new(3)), (*factors.new(3), *factors.new(2)))
    with pytest.raises(UnmatchedError):
        factors.regroup((factors.new(2), factors.new(3)), (3, 2))

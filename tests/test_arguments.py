"""Checks of arguments name what is wrong, and take every number that is one."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from landscape_fast.arguments import (
    require_choice,
    require_number,
    require_seed,
    require_switch,
    require_whole,
    require_whole_or_none,
)


def test_numbers_of_every_library_are_numbers():
    require_whole(1, steps=np.int64(3), draws=10**30)
    require_number(least=0, rtol=np.float32(0.5), atol=Fraction(1, 3), rho=2)
    require_switch(adaptive=np.bool_(True), repair=False)
    require_seed(2**64 - 1)
    require_whole_or_none(1, block=None, rows=2)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: require_whole(1, a=1, steps=0), "steps must be a whole .* at least 1, got 0"),
        (lambda: require_whole(1, steps=2.5), "steps must be a whole number"),
        (lambda: require_whole(1, steps=3.0), r"steps must be a whole number .* got 3\.0"),
        (lambda: require_whole(1, most=4, k=5), "k must be a whole .* at least 1 and at most 4"),
        (lambda: require_whole_or_none(1, block=0), "block must be a whole number"),
        (lambda: require_seed(-1), "seed must be a whole number of at least 0"),
        (
            lambda: require_seed(2**64),
            "seed must be a whole number .* at most 1844",
        ),
        (lambda: require_number(above=0, rho=0.0), r"rho must be positive and finite, got 0\.0"),
        (lambda: require_number(t=math.nan), "t must be finite, got nan"),
        (lambda: require_number(least=0, tol=math.inf), "tol must be at least 0 and finite"),
        (lambda: require_number(least=0, tol=10**400), "tol must be at least 0 and finite"),
        (
            lambda: require_number(least=0, below=1, momentum=1),
            "momentum must be .* below 1",
        ),
        (lambda: require_number(above=0, most=1, risk=1.5), "risk must be positive and at most 1"),
        (
            lambda: require_choice(("a", "b", "c"), norm="d"),
            "norm must be 'a', 'b' or 'c', got",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_what_it_was(check, said):
    with pytest.raises(ValueError, match=said):
        check()


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: require_whole(1, steps="3"), "steps must be a whole number .* got '3'"),
        (lambda: require_whole(0, steps=True), "steps must be a whole number .* got True"),
        (lambda: require_seed(None), "seed must be a whole number .* got None"),
        (lambda: require_number(rho=[0.1]), "rho must be finite, got list"),
        (lambda: require_choice(("a", "b"), norm=2), "norm must be 'a' or 'b', got 2"),
        (lambda: require_switch(adaptive="yes"), "adaptive must be True or False, got 'yes'"),
        (lambda: require_switch(adaptive=None), "adaptive must be True or False, got None"),
    ],
)
def test_a_value_of_another_kind_is_a_type_error(check, said):
    with pytest.raises(TypeError, match=said):
        check()

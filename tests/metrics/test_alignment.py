import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.metrics.alignment import Alignment
from landscape_fast.metrics.similarity import linear_cka


def features(m, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, d, generator=generator, dtype=torch.float64)


def summed(x, y, size) -> Alignment:
    sums = Alignment()
    for parts in zip(x.split(size), y.split(size), strict=True):
        sums.add(*parts)
    return sums


@given(
    m=st.integers(5, 30),
    d=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    size=st.integers(1, 40),
    offset=st.sampled_from([0.0, 100.0]),
    debiased=st.booleans(),
)
def test_blocks_give_the_alignment_of_all_rows(m, d, size, offset, debiased):
    x = features(m, d[0], 1) * torch.linspace(0.1, 1, d[0]) + offset
    y = features(m, d[1], 2) + x[:, :1] ** 2 / (1 + offset)
    sums = summed(x, y, size)
    assert sums.rows == m
    expected = linear_cka(x, y, debiased=debiased)
    assert sums.value(debiased=debiased) == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_a_constant_set_and_no_rows_have_no_alignment():
    x = features(6, 2)
    assert math.isnan(summed(x, torch.full((6, 3), 0.1), 4).value())
    assert math.isnan(Alignment().value())
    sums = Alignment()
    sums.add(x[:0], x[:0])
    assert sums.rows == 0


def test_what_is_held_does_not_grow_with_the_rows():
    x = features(1000, 3)
    kept = [
        pairing._products.shape for size in (1, 1000) for pairing in summed(x, x, size)._pairings
    ]
    assert set(kept) == {(3, 3)}


def test_rows_that_do_not_match_or_are_too_few_are_refused():
    with pytest.raises(ValueError, match="x and y must be matrices of equally many rows"):
        Alignment().add(features(3, 2), features(4, 2))
    with pytest.raises(ValueError, match="debiased needs at least 4 rows, got 3"):
        summed(features(3, 2), features(3, 2), 2).value(debiased=True)

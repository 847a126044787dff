"""All inner products of two blocks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_fast import _native

EPS = torch.finfo(torch.float64).eps


def assert_products(dots: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> None:
    x, y = x.double(), y.double()
    assert dots.dtype == torch.float64
    assert dots.shape == (len(x), len(y))
    # Both sums carry rounding; each term of either is at most sqrt(n) ulps of the sum of sizes.
    allowed = 4 * EPS * (x.shape[1] ** 0.5 + 1) * (x.abs() @ y.abs().T)
    assert ((dots - x @ y.T).abs() <= allowed).all()


@pytest.mark.parametrize(
    ("k", "m", "n"),
    [(1, 1, 1), (1, 9, 8), (2, 3, 100), (3, 5, 7), (5, 11, 4097), (9, 17, 10000), (70, 130, 600)],
)
def test_dots_equal_the_float64_product(device, dtype, k, m, n):
    x, y = torch.randn(k, n, dtype=dtype), torch.randn(m, n, dtype=dtype)
    assert_products(_native.block_dots(x.to(device), y.to(device)).cpu(), x, y)


@given(
    k=st.integers(0, 13),
    m=st.integers(0, 13),
    n=st.integers(0, 300),
    padding=st.integers(0, 5),
    double=st.booleans(),
)
@settings(max_examples=60)
def test_any_shape_and_row_slices_are_served(k, m, n, padding, double):
    dtype = torch.float64 if double else torch.float32
    x = torch.randn(k + 2, n + padding, dtype=dtype)[1 : k + 1, padding:]
    y = torch.randn(m + 2, n + padding, dtype=dtype)[2:, :n]
    assert_products(_native.block_dots(x, y), x, y)


def test_one_entry_does_not_depend_on_the_rest_of_the_block(device, dtype):
    x = torch.randn(11, 9001, dtype=dtype, device=device)
    y = torch.randn(7, 9001, dtype=dtype, device=device)
    whole = _native.block_dots(x, y)
    for i, j in [(0, 0), (10, 6), (8, 3)]:
        assert torch.equal(_native.block_dots(x[i : i + 1], y[j : j + 1])[0, 0], whole[i, j])


def test_a_block_with_itself_is_symmetric_to_the_bit(dtype):
    x = torch.randn(9, 5003, dtype=dtype)
    gram = _native.block_dots(x, x)
    assert torch.equal(gram, gram.T)


def test_repeats_and_thread_counts_give_equal_bits(device, dtype):
    x = torch.randn(5, 40001, dtype=dtype, device=device)
    y = torch.randn(6, 40001, dtype=dtype, device=device)
    first = _native.block_dots(x, y)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(_native.block_dots(x, y), first)
    finally:
        torch.set_num_threads(threads)


def test_rows_without_entries_give_zeros(device, dtype):
    x = torch.empty(2, 0, dtype=dtype, device=device)
    assert torch.equal(_native.block_dots(x, x).cpu(), torch.zeros(2, 2, dtype=torch.float64))

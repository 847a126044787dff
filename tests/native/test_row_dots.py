"""Inner products of matching rows."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_fast import _native


def exact_dot(x: torch.Tensor, y: torch.Tensor) -> float:
    """Correctly rounded sum of float64 products; of float32 numbers these are exact."""
    return math.fsum((x.double() * y.double()).tolist())


@pytest.mark.parametrize("n", [1, 7, 8, 31, 32, 33, 4095, 4096, 4097, 20011])
def test_dots_equal_the_exact_sums(device, dtype, n):
    x, y = torch.randn(3, n, dtype=dtype), torch.randn(3, n, dtype=dtype)
    dots = _native.row_dots(x.to(device), y.to(device)).cpu()
    for i in range(3):
        scale = (x[i].double() * y[i].double()).abs().sum().item()
        # Products of float64 numbers are rounded before the oracle adds them up.
        assert abs(dots[i].item() - exact_dot(x[i], y[i])) <= 4e-16 * scale


def test_float32_rows_are_summed_in_float64(device):
    # Equal terms: rounding errors all point one way, which random ones would hide.
    x = torch.full((1, 1 << 20), 0.1)
    dot = _native.row_dots(x.to(device), x.to(device)).item()
    exact = exact_dot(x[0], x[0])
    assert abs(dot - exact) <= 1e-14 * exact
    assert abs(torch.linalg.vecdot(x, x).item() - exact) > 1e-9 * exact


@given(
    k=st.integers(0, 5),
    n=st.integers(0, 200),
    padding=st.integers(0, 9),
    offset=st.integers(0, 9),
    double=st.booleans(),
)
@settings(max_examples=60)
def test_slices_of_larger_buffers_give_the_dots_of_their_copies(k, n, padding, offset, double):
    dtype = torch.float64 if double else torch.float32
    whole = torch.randn(k, offset + n + padding, dtype=dtype)
    part = whole[:, offset : offset + n]
    assert torch.equal(_native.row_dots(part, part), _native.row_dots(part.clone(), part.clone()))


def test_empty_rows_have_dot_zero_and_no_rows_no_dots(device, dtype):
    empty = torch.empty(3, 0, dtype=dtype, device=device)
    assert torch.equal(_native.row_dots(empty, empty).cpu(), torch.zeros(3, dtype=torch.float64))
    none = torch.empty(0, 5, dtype=dtype, device=device)
    assert _native.row_dots(none, none).shape == (0,)


def test_repeats_and_thread_counts_give_equal_bits(device, dtype):
    x = torch.randn(5, 70001, dtype=dtype, device=device)
    y = torch.randn(5, 70001, dtype=dtype, device=device)
    first = _native.row_dots(x, y)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(_native.row_dots(x, y), first)
    finally:
        torch.set_num_threads(threads)


def test_a_row_does_not_see_its_neighbours(device, dtype):
    x = torch.randn(6, 5003, dtype=dtype, device=device)
    y = torch.randn(6, 5003, dtype=dtype, device=device)
    together = _native.row_dots(x, y)
    alone = torch.cat([_native.row_dots(x[i : i + 1], y[i : i + 1]) for i in range(6)])
    assert torch.equal(together, alone)


def test_infinities_and_nans_come_through():
    x = torch.ones(3, 100)
    x[0, 99], x[1, 50] = torch.inf, torch.nan
    dots = _native.row_dots(x, torch.ones(3, 100))
    assert dots[0] == torch.inf
    assert dots[1].isnan()
    assert dots[2] == 100

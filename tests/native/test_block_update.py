"""Subtracting combinations of basis rows in place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_as_accurate

from landscape_fast import _native


def assert_updated(
    updated: torch.Tensor, y: torch.Tensor, c: torch.Tensor, basis: torch.Tensor
) -> None:
    exact = y.double() - c @ basis.double()
    size = y.double().abs() + c.abs() @ basis.double().abs()
    once = torch.finfo(y.dtype).eps * exact.abs()
    inside = 2 * (len(basis) + 2) * torch.finfo(torch.float64).eps * size
    assert ((updated.double() - exact).abs() <= once / 2 + inside).all()


@pytest.mark.parametrize(
    ("k", "m", "n"),
    [(1, 1, 1), (1, 9, 8), (2, 3, 100), (3, 5, 7), (5, 11, 4097), (9, 17, 10000), (70, 130, 600)],
)
def test_update_is_rounded_once(device, dtype, k, m, n):
    y, basis = torch.randn(k, n, dtype=dtype), torch.randn(m, n, dtype=dtype)
    c = torch.randn(k, m, dtype=torch.float64)
    moved = y.to(device, copy=True)
    updated = _native.block_update_(moved, c.to(device), basis.to(device)).cpu()
    assert_updated(updated, y, c, basis)


def test_cancellation_in_float32_data_keeps_float64_accuracy(device):
    basis = torch.randn(3, 1000)
    c = torch.randn(2, 3, dtype=torch.float64)
    y = (c @ basis.double()).float()
    exact = y.double() - c @ basis.double()
    ours = _native.block_update_(y.to(device, copy=True), c.to(device), basis.to(device)).cpu()
    assert_as_accurate(ours, exact.float(), exact)


@given(
    k=st.integers(0, 11),
    m=st.integers(0, 19),
    n=st.integers(0, 300),
    padding=st.integers(0, 5),
    double=st.booleans(),
)
@settings(max_examples=60)
def test_only_the_slice_is_written(k, m, n, padding, double):
    dtype = torch.float64 if double else torch.float32
    buffer = torch.randn(k + 2, n + 2 * padding, dtype=dtype)
    before = buffer.clone()
    basis, c = torch.randn(m, n, dtype=dtype), torch.randn(k, m + 1, dtype=torch.float64)[:, 1:]
    inside = (slice(1, k + 1), slice(padding, padding + n))
    assert_updated(_native.block_update_(buffer[inside], c, basis), before[inside], c, basis)
    buffer[inside] = before[inside]
    assert torch.equal(buffer, before)


def test_columns_of_one_buffer_may_be_block_and_basis():
    buffer = torch.randn(4, 20)
    y, basis, c = buffer[:, :10], buffer[:, 10:], torch.randn(4, 4, dtype=torch.float64)
    before = y.clone()
    assert_updated(_native.block_update_(y, c, basis), before, c, basis)


def test_the_block_itself_comes_back():
    y = torch.randn(2, 5)
    assert _native.block_update_(y, torch.zeros(2, 0, dtype=torch.float64), torch.empty(0, 5)) is y


def test_thread_counts_give_equal_bits(dtype):
    y, basis = torch.randn(5, 40001, dtype=dtype), torch.randn(6, 40001, dtype=dtype)
    c = torch.randn(5, 6, dtype=torch.float64)
    first = _native.block_update_(y.clone(), c, basis)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(_native.block_update_(y.clone(), c, basis), first)
    finally:
        torch.set_num_threads(threads)

"""Projecting a basis out of a block, twice."""

from __future__ import annotations

import pytest
import torch

from landscape_fast import _native


def orthonormal(m: int, n: int, dtype: torch.dtype) -> torch.Tensor:
    frame, _ = torch.linalg.qr(torch.randn(n, m, dtype=torch.float64))
    return frame.T.to(dtype).contiguous()


@pytest.mark.parametrize(
    ("k", "m", "n"), [(1, 1, 3), (1, 20, 4097), (3, 5, 7), (9, 17, 10007), (70, 40, 600)]
)
def test_what_is_left_is_orthogonal_to_the_basis(device, dtype, k, m, n):
    block, basis = torch.randn(k, n, dtype=dtype), orthonormal(m, n, dtype)
    left = block.to(device, copy=True)
    total = _native.orthogonalise_(left, basis.to(device)).cpu()
    left = left.cpu()
    eps = torch.finfo(dtype).eps
    # Rounding the result on store is all that remains.
    cosines = (left.double() @ basis.double().T) / left.double().norm(dim=1, keepdim=True)
    assert cosines.abs().max() <= 4 * eps
    back = total @ basis.double() + left.double()
    assert (back - block.double()).abs().max() <= 8 * eps * block.double().abs().max()


def test_the_second_round_repairs_what_cancellation_left(dtype):
    # The rows lie in the span but for one part in 10^4 (float32) or 10^9: one round leaves cosines
    # that much above rounding.
    basis = orthonormal(10, 5000, dtype)
    small = 1e-4 if dtype == torch.float32 else 1e-9
    inside = torch.randn(4, 10, dtype=torch.float64) @ basis.double()
    block = (inside + small * torch.randn(4, 5000, dtype=torch.float64)).to(dtype)

    once = block.clone()
    _native.block_update_(once, _native.block_dots(once, basis), basis)
    twice = block.clone()
    _native.orthogonalise_(twice, basis)

    def worst_cosine(rows: torch.Tensor) -> float:
        rows = rows.double() / rows.double().norm(dim=1, keepdim=True)
        return (rows @ basis.double().T).abs().max().item()

    assert worst_cosine(twice) <= 4 * torch.finfo(dtype).eps
    assert worst_cosine(once) > 2 * worst_cosine(twice)


def test_fused_rounds_equal_separate_ones_to_the_bit(device, dtype):
    block = torch.randn(11, 20011, dtype=dtype, device=device)
    basis = orthonormal(13, 20011, dtype).to(device)
    plain = block.clone()
    coefficients = []
    for _ in range(2):
        coefficients.append(_native.block_dots(plain, basis))
        _native.block_update_(plain, coefficients[-1], basis)
    total = _native.orthogonalise_(block, basis)
    assert torch.equal(block, plain)
    assert torch.equal(total, coefficients[0] + coefficients[1])


def test_rows_of_one_buffer_serve_as_block_and_basis(dtype):
    buffer = torch.randn(8, 300, dtype=dtype)
    buffer[:5] = orthonormal(5, 300, dtype)
    apart = buffer[5:].clone()
    expected = _native.orthogonalise_(apart, buffer[:5].clone())
    assert torch.equal(_native.orthogonalise_(buffer[5:], buffer[:5]), expected)
    assert torch.equal(buffer[5:], apart)


def test_strided_blocks_of_many_rows_are_served_like_their_copies(device, dtype):
    # More rows than the CPU works on at a time, in a buffer with wider rows.
    buffer = torch.randn(150, 205, dtype=dtype, device=device)
    block, basis = buffer[:130, 2:-3], orthonormal(9, 200, dtype).to(device)
    copy = block.clone()
    dots, total = _native.block_dots(copy, basis), _native.orthogonalise_(copy, basis)
    assert torch.equal(_native.block_dots(block, basis), dots)
    before = buffer.clone()
    assert torch.equal(_native.orthogonalise_(block, basis), total)
    assert torch.equal(block, copy)
    block.copy_(before[:130, 2:-3])
    assert torch.equal(buffer, before)


def test_an_empty_basis_changes_nothing(device, dtype):
    block = torch.randn(3, 10, dtype=dtype, device=device)
    before = block.clone()
    total = _native.orthogonalise_(block, torch.empty(0, 10, dtype=dtype, device=device))
    assert total.shape == (3, 0)
    assert torch.equal(block, before)


def test_thread_counts_give_equal_bits(dtype):
    block, basis = torch.randn(5, 40001, dtype=dtype), orthonormal(6, 40001, dtype)
    first = block.clone()
    total = _native.orthogonalise_(first, basis)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            again = block.clone()
            assert torch.equal(_native.orthogonalise_(again, basis), total)
            assert torch.equal(again, first)
    finally:
        torch.set_num_threads(threads)

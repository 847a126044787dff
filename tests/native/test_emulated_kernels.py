"""The CUDA kernels, run on the CPU by emulator/, against their CPU twins."""

from __future__ import annotations

import pytest
import torch

from landscape_fast import _C, _native

# Fewer and more rows than a tile, columns within one chunk, at its edge and beyond it.
SHAPES = [(1, 1, 1), (1, 5, 31), (2, 3, 4096), (3, 4, 4097), (5, 9, 9001), (9, 2, 300)]


def blocks(k, m, n, dtype):
    """Block, other block and basis, as slices of larger buffers."""
    generator = torch.Generator().manual_seed(k + 10 * m + 100 * n)
    x, y = torch.randn(2, k + 1, n + 3, generator=generator, dtype=dtype)[:, 1:, 2:-1]
    basis = torch.randn(m, n + 5, generator=generator, dtype=dtype)[:, 5:] / n**0.5
    return x, y, basis


def assert_same_sums(ours, twin, sizes):
    assert ((ours - twin).abs() <= 1e-15 * sizes).all()


@pytest.mark.parametrize(("k", "m", "n"), SHAPES)
def test_row_dots(kernels, dtype, k, m, n):
    x, y, _ = blocks(k, m, n, dtype)
    sizes = (x.double() * y.double()).abs().sum(-1)
    assert_same_sums(kernels.row_dots(x, y), _native.row_dots(x, y), sizes)


@pytest.mark.parametrize(("k", "m", "n"), SHAPES)
def test_block_dots(kernels, dtype, k, m, n):
    x, _, basis = blocks(k, m, n, dtype)
    sizes = x.double().abs() @ basis.double().abs().T
    assert_same_sums(kernels.block_dots(x, basis), _native.block_dots(x, basis), sizes)


def twin_has_fused_multiply_add() -> bool:
    return _C.select_instruction_set(None) in ("avx512", "avx2")


@pytest.mark.parametrize(("k", "m", "n"), [*SHAPES, (3, 129, 40), (12, 260, 600)])
def test_block_update_equals_its_twin_to_the_bit(kernels, dtype, k, m, n):
    x, _, basis = blocks(k, m, n, dtype)
    c = torch.randn(k, m + 2, dtype=torch.float64)[:, 1:-1]
    buffer = torch.full((k, n + 4), torch.nan, dtype=dtype)
    ours = buffer[:, 1 : n + 1]
    ours.copy_(x)
    kernels.block_update_(ours, c, basis)
    twin = _native.block_update_(x.clone(), c, basis)
    if twin_has_fused_multiply_add():
        assert torch.equal(ours, twin)
    else:
        torch.testing.assert_close(ours, twin)
    assert buffer[:, 0].isnan().all()
    assert buffer[:, n + 1 :].isnan().all()


@pytest.mark.parametrize(("k", "m", "n"), [(1, 1, 31), (2, 3, 4096), (5, 9, 9001)])
def test_orthogonalise(kernels, dtype, k, m, n):
    block, _, basis = blocks(k, m, n, dtype)
    basis = torch.linalg.qr(basis.double().T)[0].T.to(dtype).contiguous()
    ours, twin = block.clone(), block.clone()
    total = kernels.orthogonalise_(ours, basis)
    expected = _native.orthogonalise_(twin, basis)
    torch.testing.assert_close(total, expected, rtol=1e-13, atol=1e-12)
    eps = torch.finfo(dtype).eps
    assert (ours - twin).abs().max() <= 4 * eps * block.abs().max()
    left = ours.double() / ours.double().norm(dim=1, keepdim=True)
    assert (left @ basis.double().T).abs().max() <= 4 * eps


@pytest.mark.parametrize("fill", ["signs_", "normals_"])
@pytest.mark.parametrize(
    ("k", "n", "row", "entry"),
    [
        (1, 1, 0, 0),
        (2, 5000, 3, 0),
        (3, 777, 2**60, 12345),
        (2, 40000, 0, 32767),
        (1, 64, 5, 2**60),
    ],
)
def test_probes_equal_their_twins_to_the_bit(kernels, dtype, fill, k, n, row, entry):
    buffer = torch.full((k, n + 2), torch.nan, dtype=dtype)
    ours = getattr(kernels, fill)(buffer[:, 1:-1], 11, first_row=row, first_entry=entry)
    twin = getattr(_native, fill)(
        torch.empty(k, n, dtype=dtype), 11, first_row=row, first_entry=entry
    )
    assert torch.equal(ours, twin)
    assert buffer[:, [0, -1]].isnan().all()


def test_thread_order_changes_no_bit(emulated, schedules):
    x, y, basis = blocks(5, 6, 9001, torch.float32)
    answers = []
    for greedy, seed in schedules:
        emulated.schedule(greedy=greedy, seed=seed)
        answers.append((emulated.row_dots(x, y), emulated.block_dots(x, basis)))
    for dots, block_dots in answers[1:]:
        assert torch.equal(dots, answers[0][0])
        assert torch.equal(block_dots, answers[0][1])


def test_empty_blocks_launch_nothing_and_answer_zero(kernels):
    assert kernels.row_dots(torch.empty(2, 0), torch.empty(2, 0)).tolist() == [0, 0]
    assert kernels.block_dots(torch.empty(1, 0), torch.empty(2, 0)).tolist() == [[0, 0]]
    assert kernels.block_dots(torch.empty(0, 4), torch.empty(2, 4)).shape == (0, 2)
    block = torch.randn(2, 3)
    assert kernels.orthogonalise_(block.clone(), torch.empty(0, 3)).shape == (2, 0)
    assert kernels.signs_(torch.empty(0, 4), 0).shape == (0, 4)

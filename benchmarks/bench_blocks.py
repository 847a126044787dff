"""Native operations on blocks of vectors against plain torch, each after its answer was asserted.

pytest benchmarks/bench_blocks.py --benchmark-only
"""

from __future__ import annotations

import pytest
import torch
from operands import ON_EACH_DEVICE, record

from landscape_fast import _native

ROWS, COLUMNS, BASIS = (1, 8, 32), (10**5, 10**6, 3 * 10**6), (10, 100)
# Without the largest, whose float64 rival needs 5 GB.
SHAPES = [(k, n, m) for k in ROWS for n in COLUMNS for m in BASIS if k * n * m < 9 * 10**9]

pytestmark = ON_EACH_DEVICE


def rounds_for(work: float) -> int:
    """More rounds where they are cheap: between 5 and 51."""
    return int(max(5, min(51, 2e9 / work)))


def normalised(m: int, n: int, device: str) -> torch.Tensor:
    """Rows of unit length and, being random and long, nearly orthogonal."""
    return torch.nn.functional.normalize(torch.randn(m, n, device=device))


@pytest.mark.parametrize("n", COLUMNS)
@pytest.mark.parametrize("k", ROWS)
def test_row_dots(benchmark, device, k, n):
    x, y = torch.randn(k, n, device=device), torch.randn(k, n, device=device)

    def in_float64() -> torch.Tensor:
        return (x.double() * y.double()).sum(-1)

    sizes = (x.double() * y.double()).abs().sum(-1)
    assert ((_native.row_dots(x, y) - in_float64()).abs() <= 1e-14 * sizes).all()
    record(
        benchmark,
        lambda: _native.row_dots(x, y),
        {"float32": lambda: torch.linalg.vecdot(x, y), "float64": in_float64},
        rounds=rounds_for(40 * k * n),
        bytes_moved=8 * k * n,
        multiply_adds=k * n,
        shape={"k": k, "n": n},
    )


def cgs2(block: torch.Tensor, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two rounds of projection, as two products each."""
    first = block @ basis.T
    block = block - first @ basis
    second = block @ basis.T
    return first + second, block - second @ basis


@pytest.mark.parametrize(("k", "n", "m"), SHAPES)
def test_orthogonalise(benchmark, device, k, n, m):
    block, basis = torch.randn(k, n, device=device), normalised(m, n, device)
    expected, left = cgs2(block.double(), basis.double())
    ours = block.clone()
    total = _native.orthogonalise_(ours, basis)
    assert (total - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert (ours.double() - left).abs().max() <= 1e-6 * left.abs().max()
    del left
    record(
        benchmark,
        lambda: _native.orthogonalise_(ours, basis),
        {
            "float32": lambda: cgs2(ours, basis),
            "float64": lambda: cgs2(ours.double(), basis.double()),
        },
        rounds=rounds_for(4 * k * n * m),
        bytes_moved=4 * n * (3 * m + 5 * k),
        multiply_adds=4 * k * n * m,
        shape={"k": k, "n": n, "m": m},
    )


@pytest.mark.parametrize(("k", "n", "m"), [shape for shape in SHAPES if shape[1] == 10**6])
def test_block_dots(benchmark, device, k, n, m):
    x, y = torch.randn(k, n, device=device), normalised(m, n, device)
    exact = x.double() @ y.double().T
    assert (_native.block_dots(x, y) - exact).abs().max() <= 1e-12 * exact.abs().max()
    record(
        benchmark,
        lambda: _native.block_dots(x, y),
        {"float32": lambda: x @ y.T, "float64": lambda: x.double() @ y.double().T},
        rounds=rounds_for(k * n * m),
        bytes_moved=4 * n * (m + k),
        multiply_adds=k * n * m,
        shape={"k": k, "n": n, "m": m},
    )


@pytest.mark.parametrize(("k", "n", "m"), [shape for shape in SHAPES if shape[1] == 10**6])
def test_block_update(benchmark, device, k, n, m):
    y, basis = torch.randn(k, n, device=device), normalised(m, n, device)
    c = 1e-3 * torch.randn(k, m, dtype=torch.float64, device=device)
    narrow = c.float()
    exact = y.double() - c @ basis.double()
    assert (_native.block_update_(y.clone(), c, basis) - exact).abs().max() <= 1e-6
    record(
        benchmark,
        lambda: _native.block_update_(y, c, basis),
        {
            "float32": lambda: y - narrow @ basis,
            "float64": lambda: (y.double() - c @ basis.double()).float(),
        },
        rounds=rounds_for(k * n * m),
        bytes_moved=4 * n * (m + 2 * k),
        multiply_adds=k * n * m,
        shape={"k": k, "n": n, "m": m},
    )


@pytest.mark.parametrize("n", [10**5, 10**6])
@pytest.mark.parametrize("k", [1, 8])
def test_signs(benchmark, device, k, n):
    out = torch.empty(k, n, device=device)
    assert torch.equal(_native.signs_(out, 0).abs(), torch.ones_like(out))
    record(
        benchmark,
        lambda: _native.signs_(out, 0),
        {"torch": lambda: out.bernoulli_().mul_(2).sub_(1)},
        rounds=rounds_for(200 * k * n),
        bytes_moved=4 * k * n,
        multiply_adds=0,
        shape={"k": k, "n": n},
    )


@pytest.mark.parametrize("n", [10**5, 10**6])
@pytest.mark.parametrize("k", [1, 8])
def test_normals(benchmark, device, k, n):
    out = torch.empty(k, n, device=device)
    assert (_native.normals_(out, 0).std() - 1).abs() < 0.02
    record(
        benchmark,
        lambda: _native.normals_(out, 0),
        {"torch": lambda: out.normal_()},
        rounds=rounds_for(200 * k * n),
        bytes_moved=4 * k * n,
        multiply_adds=0,
        shape={"k": k, "n": n},
    )

"""Counter-based signs and Gaussians: known answers, slices, moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_fast import _native

FILLS = [_native.signs_, _native.normals_]
MASK = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox4x32-10 in Python integers, from the paper's definition."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [c0, c1, c2, c3]


def words(block: int, row: int, seed: int) -> list[int]:
    counter = (block & MASK, block >> 32, row & MASK, row >> 32)
    return philox(counter, (seed & MASK, seed >> 32))


@pytest.mark.parametrize(
    ("counter", "key", "drawn"),
    [
        # Random123, kat_vectors, "philox4x32 10"
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((MASK,) * 4, (MASK,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_oracle_gives_the_published_answers(counter, key, drawn):
    assert " ".join(f"{word:08x}" for word in philox(counter, key)) == drawn


POSITIONS = [
    (0, 0, 0),
    (1, 0, 0),
    (2**64 - 1, 2**61 + 12345, 2**61 + 128 * 7),
    (0x299F31D0A4093822, 0x0370734413198A2E, 128 * 0x243F6A8885A3),
]


@pytest.mark.parametrize(("seed", "row", "entry"), POSITIONS)
def test_signs_are_the_bits_of_philox(device, dtype, seed, row, entry):
    out = torch.empty(1, 256, dtype=dtype, device=device)
    drawn = _native.signs_(out, seed, first_row=row, first_entry=entry)[0].cpu()
    bits = []
    for block in (entry // 128, entry // 128 + 1):
        bits += [word >> s & 1 for word in words(block, row, seed) for s in range(32)]
    assert drawn.tolist() == [1.0 - 2.0 * bit for bit in bits]


@pytest.mark.parametrize(("seed", "row", "entry"), POSITIONS)
def test_normals_are_box_muller_of_philox(device, seed, row, entry):
    entry = entry // 64 * 64
    out = torch.empty(1, 64, dtype=torch.float64, device=device)
    drawn = _native.normals_(out, seed, first_row=row, first_entry=entry)[0].cpu()
    expected = [0.0] * 64
    for s in range(16):
        block = (entry // 64 * 16 + s) | 1 << 63
        w = words(block, row, seed)
        for t in (0, 2):
            radius = math.sqrt(-2 * math.log((w[t] + 0.5) / 2**32))
            angle = 2 * math.pi * (w[t + 1] / 2**32)
            expected[16 * t + s] = radius * math.cos(angle)
            expected[16 * (t + 1) + s] = radius * math.sin(angle)
    # libm rounds 2 pi v before taking the cosine, so near zeros it is the less accurate one.
    torch.testing.assert_close(
        drawn, torch.tensor(expected, dtype=torch.float64), rtol=4e-16, atol=6e-15
    )


@pytest.mark.parametrize("fill", FILLS)
@given(
    row=st.integers(0, 2**61),
    entry=st.integers(0, 2**61),
    top=st.integers(0, 3),
    left=st.integers(0, 3000),
    width=st.integers(0, 3000),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=25)
def test_any_part_equals_the_slice_of_the_whole(fill, row, entry, top, left, width, seed):
    whole = fill(torch.empty(5, 6000), seed, first_row=row, first_entry=entry)
    part = torch.full((2, width + 3), torch.nan)
    fill(part[:, 2:-1], seed, first_row=row + top, first_entry=entry + left)
    assert torch.equal(part[:, 2:-1], whole[top : top + 2, left : left + width])
    assert part[:, [0, 1, -1]].isnan().all()


@pytest.mark.parametrize("fill", FILLS)
def test_float32_is_the_rounding_of_float64(device, fill):
    wide = fill(torch.empty(3, 5000, dtype=torch.float64, device=device), 5)
    narrow = fill(torch.empty(3, 5000, device=device), 5)
    assert torch.equal(narrow, wide.float())


@pytest.mark.parametrize("fill", FILLS)
def test_cuda_draws_the_bits_of_the_cpu(fill, cuda, dtype):
    here = fill(torch.empty(4, 9001, dtype=dtype), 3, first_row=7, first_entry=77)
    there = fill(torch.empty(4, 9001, dtype=dtype, device=cuda), 3, first_row=7, first_entry=77)
    assert torch.equal(there.cpu(), here)


def test_signs_are_balanced_and_uncorrelated():
    n = 1 << 20
    signs = _native.signs_(torch.empty(8, n, dtype=torch.float64), 0)
    assert torch.equal(signs.abs(), torch.ones_like(signs))
    assert signs.mean(1).abs().max() < 4.5 / n**0.5
    gram = signs @ signs.T / n - torch.eye(8, dtype=torch.float64)
    assert gram.abs().max() < 4.5 / n**0.5
    for lag in (1, 2, 16, 31, 32, 33, 64, 128, 2048):
        assert (signs[:, lag:] * signs[:, :-lag]).mean(1).abs().max() < 4.5 / n**0.5


def test_normals_have_gaussian_moments_and_distribution():
    n = 1 << 20
    z = _native.normals_(torch.empty(4, n, dtype=torch.float64), 1)
    # Standard deviations of the sample moments of a Gaussian: 1, 2, 15, 96.
    for power, exact, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = (z**power).mean(1) - exact
        assert error.abs().max() < 4.5 * (variance / n) ** 0.5, power
    edges = torch.linspace(-4, 4, 33, dtype=torch.float64)
    for row in z:
        share = torch.searchsorted(row.sort().values, edges) / n
        normal = 0.5 * (1 + torch.erf(edges / 2**0.5))
        # Kolmogorov: sqrt(n) D exceeds 1.95 once in a thousand.
        assert (share - normal).abs().max() < 1.95 / n**0.5
    for lag in (1, 2, 15, 16, 32, 48, 64):
        assert (z[:, lag:] * z[:, :-lag]).mean(1).abs().max() < 4.5 / n**0.5


def test_streams_of_seeds_rows_and_kinds_are_apart():
    n = 1 << 18
    draws = [
        _native.signs_(torch.empty(1, n, dtype=torch.float64), 0),
        _native.signs_(torch.empty(1, n, dtype=torch.float64), 1),
        _native.signs_(torch.empty(1, n, dtype=torch.float64), 0, first_row=1),
        _native.normals_(torch.empty(1, n, dtype=torch.float64), 0),
        _native.normals_(torch.empty(1, n, dtype=torch.float64), 1),
    ]
    correlations = np.corrcoef(torch.cat(draws).numpy()) - np.eye(5)
    assert np.abs(correlations).max() < 4.5 / n**0.5


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_is_drawn_into_nothing(device, fill, shape):
    assert fill(torch.empty(shape, device=device), 0).shape == shape


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(
    ("position", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 0, "first_row": -1}, "first_row"),
        ({"seed": 0, "first_entry": 2**62}, "first_entry"),
    ],
)
def test_positions_out_of_range_are_refused(fill, position, named):
    with pytest.raises(ValueError, match=f"^{named} must lie in"):
        fill(torch.empty(1, 1), **position)

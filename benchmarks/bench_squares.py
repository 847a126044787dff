"""Native squares of per-sample gradients against plain torch, after their answers were asserted.

pytest benchmarks/bench_squares.py --benchmark-only
"""

from __future__ import annotations

import pytest
import torch
from operands import NORM_SHAPES, ON_EACH_DEVICE, norm_operands, record

from landscape_fast import _native

pytestmark = ON_EACH_DEVICE


@pytest.mark.parametrize(("b", "n"), [(32, 64), (32, 16384), (1024, 2304)])
def test_square_sums(benchmark, device, b, n):
    block = torch.randn(8, b, n, device=device)

    def in_float64() -> torch.Tensor:
        return block.double().square().sum((0, 1))

    def in_torch() -> torch.Tensor:
        return block.square().sum((0, 1)).double()

    exact = in_float64()
    assert (_native.square_sums(block) - exact).abs().max() <= 1e-13 * exact.abs().max()
    record(
        benchmark,
        lambda: _native.square_sums(block),
        {"float32": in_torch, "float64": in_float64},
        rounds=31,
        bytes_moved=4 * 8 * b * n,
        multiply_adds=8 * b * n,
        shape={"k": 8 * b, "n": n},
    )


# Input channels, filters, positions along a side, window: the layers of ResNet-20 and one of 1 x 1.
FILTERS = [(3, 16, 32, 3), (16, 16, 32, 3), (32, 32, 16, 3), (64, 64, 8, 3), (64, 64, 8, 1)]


@pytest.mark.parametrize(("i", "o", "side", "window"), FILTERS)
@pytest.mark.parametrize("k", [1, 5])
def test_filter_squares(benchmark, device, k, i, o, side, window):
    if device != "cpu":
        pytest.skip("a product and square_sums serve CUDA")
    b, pad = 16, window // 2
    x, delta = torch.randn(b, i, side, side), torch.randn(b, k, o, side**2).transpose(0, 1)

    def in_torch() -> torch.Tensor:
        columns = torch.nn.functional.unfold(x, window, padding=pad)
        left = delta.transpose(0, 1).reshape(b, k * o, -1)
        gradients = torch.bmm(left, columns.transpose(1, 2)).reshape(b * k, -1)
        return gradients.square().sum(0).double()

    def ours() -> torch.Tensor:
        return _native.filter_squares(delta, x, (window, window), padding=(pad, pad))

    expected = in_torch()
    assert (ours().flatten() - expected).abs().max() <= 1e-5 * expected.max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=31,
        bytes_moved=4 * b * side**2 * (k * o + i),
        multiply_adds=b * k * o * i * window**2 * side**2,
        shape={"k": k, "n": o * i * window**2, "m": b * side**2},
    )


# Smaller images go through plain torch.
@pytest.mark.parametrize(("b", "c", "s"), [*NORM_SHAPES[:2], (16, 64, 64)])
def test_affine_norm_squares(benchmark, device, b, c, s):
    if device != "cpu":
        pytest.skip("plain torch serves CUDA")
    o = norm_operands(b, c, s, device)

    def in_torch() -> tuple[torch.Tensor, ...]:
        masked = (o["first"] + o["second"]).mul_(o["output"] > 0)
        normal = (o["x"] - o["mean"][:, None]) * o["scale"][:, None]
        weight = (masked * normal).sum(3).square().sum((0, 1)).double()
        bias = masked.sum(3).square().sum((0, 1)).double()
        return weight, bias, masked * o["gain"][:, None]

    names = ("first", "second", "result", "x", "mean", "scale", "gain", "output")
    operands = [o[name] for name in names]

    def ours() -> tuple[torch.Tensor, ...]:
        return _native.affine_norm_squares_(*operands)

    o["second"].zero_()  # so that the sum in place does not grow
    expected = in_torch()
    for answer, wanted in zip((*ours(), o["result"]), expected, strict=True):
        assert (answer - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=51,
        bytes_moved=4 * b * c * s * (4 * 8 + 2),
        multiply_adds=0,
        shape={"k": 8, "n": b * c * s},
    )

"""What the benchmarks of native operations share: devices, operands, and how one is recorded.

Blocks are float32. ``extra_info["ratios"]`` holds the paired ratios, ours over theirs (pairing.py):

float32     the operation as torch does it on the data as they are
float64     the torch expression that has our accuracy: converted first, sums in float64
torch       torch's own generator, for signs and Gaussians

``extra_info`` also has the bytes that must move at least and the multiply-adds, for rates.
``python benchmarks/report`` makes the tables from committed results.
"""

from __future__ import annotations

import pytest
import torch
from pairing import ratios

from landscape_fast import _native

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() and _native.has_cuda() else ["cpu"]
ON_EACH_DEVICE = pytest.mark.parametrize("device", DEVICES)

# (B, C, S) of K = 8 tangents, as in small convolutional networks.
NORM_SHAPES = [(16, 8, 1024), (16, 16, 256), (16, 64, 16)]


def record(benchmark, ours, rivals, *, rounds, bytes_moved, multiply_adds, shape) -> None:
    benchmark.extra_info.update(
        ratios=ratios(ours, rivals, rounds=rounds),
        shape=shape,
        bytes=bytes_moved,
        multiply_adds=multiply_adds,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    benchmark.pedantic(ours, rounds=rounds)


def record_tangents(
    benchmark, ours, in_torch, n, *, blocks, primals, within, relative=False
) -> None:
    """An operation on 8 tangents of n values, that moves so many blocks of both, held to torch."""
    expected = in_torch()
    allowed = within * expected.abs().max() if relative else within
    assert (ours() - expected).abs().max() <= allowed
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=31,
        bytes_moved=4 * n * (8 * blocks + primals),
        multiply_adds=0,
        shape={"k": 8, "n": n},
    )


def norm_operands(b: int, c: int, s: int, device: str) -> dict[str, torch.Tensor]:
    """Blocks as convolutions leave them, [B, K, C, S], and what they are tangents of."""
    names = ("first", "second", "residual", "x_dot", "result")
    operands = {name: torch.randn(b, 8, c, s, device=device).transpose(0, 1) for name in names}
    operands["x"], operands["output"], delta = torch.randn(3, b, c, s, device=device)
    operands["output"] = operands["output"].relu()
    operands["delta"] = delta * (operands["output"] > 0)
    operands["mean"], operands["scale"], operands["gain"] = torch.rand(3, c, device=device) + 0.5
    operands["weight_dot"], operands["bias_dot"] = torch.randn(2, 8, c, device=device)
    return operands

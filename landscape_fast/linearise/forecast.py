"""What products will cost, from two of them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.arguments import require_whole
from landscape_fast.clock import seconds
from landscape_fast.results import Estimate


class _Multiplies(Protocol):
    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    @property
    def kept_bytes(self) -> int: ...

    def __call__(self, block: Tensor, /) -> Tensor: ...


def forecast(op: _Multiplies, products: int, block: int, data: int) -> Estimate:
    """See :meth:`~landscape_fast.linearise.dataset_operator.DatasetOperator.estimate`.

    Args:
        op: Multiplies blocks.
        products: Vectors asked about.
        block: Vectors multiplied together.
        data: Bytes of data that are kept.
    """
    require_whole(1, products=products, block=block)
    block = min(block, products)
    vectors = torch.empty(block, op.shape[0], dtype=op.dtype, device=op.device)
    _native.signs_(vectors, 0)
    first = _timed(op, vectors)
    on_gpu = op.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(op.device)
    each = _timed(op, vectors)
    blocks = -(-products // block)
    return Estimate(
        seconds=max(first, each) + (blocks - 1) * each,
        bytes=data + op.kept_bytes + 2 * vectors.nbytes,
        peak_bytes=torch.cuda.max_memory_allocated(op.device) if on_gpu else None,
        products=products,
        block=block,
        seconds_per_block=each,
    )


def _timed(op: _Multiplies, vectors: Tensor) -> float:
    began = seconds()
    float(op(vectors)[0, 0])  # waits for the device
    return seconds() - began

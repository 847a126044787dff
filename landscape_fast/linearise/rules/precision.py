"""Matrix products and convolutions in a lower precision, everything between them in float32.

Inner products are accumulated in float32 either way; what is lost is the rounding of their factors
and, in bfloat16, of their results.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from landscape_fast.arguments import require_choice

Precision = Literal["float32", "tf32", "bfloat16"]

_factors: ContextVar[torch.dtype | None] = ContextVar("factors", default=None)


def check_precision(precision: str, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse what is unknown, and what would change nothing or the wrong thing.

    Raises:
        ValueError: Naming ``precision``.
    """
    require_choice(get_args(Precision), precision=precision)
    if precision != "float32" and dtype != torch.float32:
        raise ValueError(f"precision={precision!r} needs float32 parameters, got {dtype}")
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(f"precision='tf32' needs a CUDA device, got {device.type}; try 'bfloat16'")


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Products of the rules in ``precision`` inside the block; torch's own switches are restored.

    In ``"float32"`` nothing is touched: what torch is set to holds.
    """
    token = _factors.set(torch.bfloat16 if precision == "bfloat16" else None)
    cudnn: Any = torch.backends.cudnn
    switches: list[Any] = [torch.backends.cuda.matmul, cudnn.conv] if precision == "tf32" else []
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "tf32"
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
        _factors.reset(token)


def reduced() -> bool:
    """Whether factors are rounded here and now."""
    return _factors.get() is not None


def factor(tensor: Tensor) -> Tensor:
    """``tensor`` as it goes into a product."""
    dtype = _factors.get()
    return tensor if dtype is None or tensor.dtype != torch.float32 else tensor.to(dtype)


def result(tensor: Tensor, like: Tensor) -> Tensor:
    """A product as it comes out of one, in the type of the unrounded factor ``like``."""
    return tensor if tensor.dtype == like.dtype else tensor.to(like.dtype)

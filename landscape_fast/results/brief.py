"""Results in a line or two: long tensors by their shape."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor

LONGEST = 6  # entries of a tensor that is written out


def brief(result: Any) -> str:
    """``Name(field=value, ...)`` of a dataclass, with shapes in place of tensors of many entries.

    Example:
        >>> from dataclasses import dataclass
        >>> import torch
        >>> @dataclass
        ... class Found:
        ...     values: torch.Tensor
        ...     vectors: torch.Tensor
        ...     __repr__ = brief
        >>> Found(torch.tensor([2.0, 0.5]), torch.zeros(2, 57))
        Found(values=[2, 0.5], vectors=<2 x 57 float32>)
    """
    parts = (f"{field.name}={_written(getattr(result, field.name))}" for field in fields(result))
    return f"{type(result).__name__}({', '.join(parts)})"


def _written(value: Any) -> str:
    if isinstance(value, Tensor):
        if value.numel() <= LONGEST and value.dim() <= 1:
            return _numbers(value.tolist())
        return _shape(value.shape, str(value.dtype).removeprefix("torch."))
    if isinstance(value, np.ndarray):
        if value.size <= LONGEST and value.ndim <= 1:
            return _numbers(value.tolist())
        return _shape(value.shape, value.dtype)
    if type(value) in (tuple, list) and any(isinstance(v, Tensor | np.ndarray) for v in value):
        inner = ", ".join(_written(part) for part in value[:LONGEST])
        more = ", ..." if len(value) > LONGEST else ""
        return f"({inner}{more})" if isinstance(value, tuple) else f"[{inner}{more}]"
    return repr(value)


def _shape(shape: Any, dtype: Any) -> str:
    return f"<{' x '.join(map(str, shape))} {dtype}>"


def _numbers(values: Any) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_numbers, values))}]"
    return f"{values:.6g}" if isinstance(values, float) else repr(values)

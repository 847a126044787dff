"""Blocks of cotangents through the gradient of a fused normalisation with given statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.norm import over_channels


def masked(args: Sequence[Any], dots: Sequence[Any]) -> Tensor:
    """The sum of incoming blocks behind the relu's mask, in memory [B, K, C, ...]."""
    output = args[2]
    if dots[0] is None or dots[1] is None:
        block = dots[1] if dots[0] is None else dots[0]
        return block if output is None else block * (output > 0)
    block = dots[0] + dots[1]
    return block if output is None else block.mul_(output > 0)


def pushed(args: Sequence[Any], block: Tensor) -> tuple[Any, ...]:
    """Outputs of the operation for a block that :func:`masked` returned."""
    weight, var, eps, mask = args[4], args[6], args[7], args[8]
    if not mask[0]:
        return block, None, None, None
    gain = (var + eps).rsqrt()
    gain = gain if weight is None else gain * weight
    return block, block * over_channels(gain, block.dim() - 1), None, None


def normal(args: Sequence[Any], shared: dict[Any, Any]) -> Tensor:
    """The normalised input, made once per call of the program."""
    if "normal" not in shared:
        x, mean, var, eps = args[3], args[5], args[6], args[7]
        scale = (var + eps).rsqrt()
        shift = over_channels(-mean * scale, x.dim())
        shared["normal"] = torch.addcmul(shift, x, over_channels(scale, x.dim()))
    return shared["normal"]

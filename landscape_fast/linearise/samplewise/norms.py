"""Blocks of cotangents through the gradient of a fused normalisation with given statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.rules import layers
from landscape_fast.linearise.rules.norm import over_channels

FEWEST_POSITIONS = 32  # of a channel, below which the native pass gains nothing


def masked(
    args: Sequence[Any], dots: Sequence[Any], shared: dict[Any, Any], *, by_sample: bool
) -> Tensor:
    """The sum of incoming blocks behind the relu's mask, in memory [B, K, C, ...].

    On a CPU, of images that are not small, one native pass finds what :func:`pushed` returns too
    and, where the rows of a value are the samples, the squared gradients of weight and bias: shared
    as "pushed" and "squares".
    """
    output, x = args[2], args[3]
    long = x[0, 0].numel() >= FEWEST_POSITIONS
    if by_sample and long and x.device.type == "cpu" and layers.served(x):
        return _in_one_pass(args, dots, shared)
    if dots[0] is None or dots[1] is None:
        block = dots[1] if dots[0] is None else dots[0]
        return block if output is None else block * (output > 0)
    block = dots[0] + dots[1]
    return block if output is None else block.mul_(output > 0)


def _in_one_pass(args: Sequence[Any], dots: Sequence[Any], shared: dict[Any, Any]) -> Tensor:
    _, _, output, x, weight, mean, var, eps, mask, owned = args
    first, second = layers.ordered(dots[0], dots[1], owned, output is not None)
    assert first is not None
    planes = layers.planes(first)
    other = None if second is None else layers.planes(second)
    result = None
    if mask[0]:
        # The second summand is read once, so its memory can take the result; if it is ours.
        result = other if other is not None and all(owned) else layers.block_like(x, len(planes))
    statistics = layers.Statistics(weight, mean, var, eps)
    shared["squares"] = _native.affine_norm_squares_(
        planes,
        other,
        result,
        layers.plane(x),
        statistics.mean,
        statistics.scale,
        statistics.gain,
        None if output is None else layers.plane(output),
    )
    shared["pushed"] = None if result is None else result.reshape(-1, *x.shape)
    return planes.reshape(-1, *x.shape)


def pushed(args: Sequence[Any], block: Tensor, shared: dict[Any, Any]) -> tuple[Any, ...]:
    """Outputs of the operation for a block that :func:`masked` returned."""
    weight, var, eps, mask = args[4], args[6], args[7], args[8]
    if "pushed" in shared or not mask[0]:
        return block, shared.get("pushed"), None, None
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

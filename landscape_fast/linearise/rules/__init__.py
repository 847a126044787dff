"""Tangent rules of ATen operations, one file per family."""

from landscape_fast.linearise.rules import (
    bilinear,
    convolution,
    layers,
    linear,
    loss,
    norm,
    pointwise,
)
from landscape_fast.linearise.rules.fallback import forward_mode
from landscape_fast.linearise.rules.registry import (
    FIXED,
    LINEAR,
    READS_ARGUMENTS,
    READS_SHAPES,
    RULES,
)

__all__ = [
    "FIXED",
    "LINEAR",
    "READS_ARGUMENTS",
    "READS_SHAPES",
    "RULES",
    "bilinear",
    "convolution",
    "forward_mode",
    "layers",
    "linear",
    "loss",
    "norm",
    "pointwise",
]

"""Tangent rules of ATen operations, one file per family."""

from landscape_fast.linearise.rules import (
    activations,
    bends,
    bilinear,
    convolution,
    errors,
    fourier,
    fused_activations,
    groups,
    layers,
    linear,
    loss,
    norm,
    places,
    pointwise,
    reductions,
    resampling,
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
    "activations",
    "bends",
    "bilinear",
    "convolution",
    "errors",
    "forward_mode",
    "fourier",
    "fused_activations",
    "groups",
    "layers",
    "linear",
    "loss",
    "norm",
    "places",
    "pointwise",
    "reductions",
    "resampling",
]

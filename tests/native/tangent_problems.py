"""Blocks of tangents in every memory order, and problems to test operations on them with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

ORDERS = ("kb", "bk", "gaps")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}


def block(values: Tensor, order: str) -> Tensor:
    """``values`` (K, B, ...) in memory as [K, B], as [B, K], or as a part of a larger buffer."""
    if order == "kb":
        return values.clone(memory_format=torch.contiguous_format)
    if order == "bk":
        return values.transpose(0, 1).clone(memory_format=torch.contiguous_format).transpose(0, 1)
    room = values.new_full((values.shape[0] + 1, values.shape[1] + 2, *values.shape[2:]), torch.nan)
    part = room[1:, 1:-1]
    part.copy_(values)
    return part


class NormProblem:
    """Random statistics, weights, data and tangents of a normalisation with a sum and a relu."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
        k, b, c, s = shape
        generator = torch.Generator().manual_seed(k + 10 * b + 100 * c + 1000 * s)

        def normal(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, dtype=dtype)

        self.x, self.residual, self.arriving = normal(3, b, c, s)
        self.mean, self.bias = normal(2, c)
        self.scale, self.weight = torch.rand(2, c, generator=generator, dtype=dtype) + 0.5
        self.gain = self.scale * self.weight
        self.first, self.second, self.residual_dot, self.x_dot = normal(4, k, b, c, s)
        # Columns of a wider buffer, as the tangents of all parameters come.
        self.weight_dot, self.bias_dot = normal(2, k, c + 3)[..., 1 : c + 1]
        self.output = self.forward(self.x, self.weight, self.bias, self.residual)
        self.delta = self.arriving * (self.output > 0)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        def per_channel(vector: Tensor) -> Tensor:
            return vector.to(x.dtype)[:, None]

        normal = (x - per_channel(self.mean)) * per_channel(self.scale)
        return torch.relu(normal * per_channel(weight) + per_channel(bias) + residual)


def _arguments(p: NormProblem, order: str, device: torch.device | str) -> dict[str, Tensor]:
    named = ("x", "mean", "scale", "gain", "weight_dot", "output")
    shared = {name: getattr(p, name).to(device) for name in named}
    blocks = {name: block(getattr(p, name).to(device), order) for name in ("first", "second")}
    return {**blocks, "result": torch.full_like(blocks["first"], torch.nan), **shared}


def forwards(p: NormProblem, order: str, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Arguments of affine_norm_tangent_."""
    others = {"bias_dot": p.bias_dot.to(device), "residual": p.residual_dot.to(device)}
    return _arguments(p, order, device) | others


def backwards(p: NormProblem, order: str, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Arguments of affine_norm_gradient_tangent_."""
    others = {"delta": p.delta.to(device), "x_dot": block(p.x_dot.to(device), order)}
    return _arguments(p, order, device) | others


class ActivationProblem:
    """Random values of an activation, gradients behind it and tangents of both."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        k, r, c = shape
        generator = torch.Generator().manual_seed(k + 10 * r + 100 * c)
        self.z, self.delta = torch.randn(2, r, c, generator=generator, dtype=dtype) * 2
        self.z_dot, self.delta_dot = torch.randn(2, k, r, c, generator=generator, dtype=dtype)


class SoftmaxProblem:
    """Random logits, their probabilities, weights of rows and tangents far from zero."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        k, r, c = shape
        generator = torch.Generator().manual_seed(k + 10 * r + 100 * c)
        self.logits = 3 * torch.randn(r, c, generator=generator, dtype=torch.float64)
        self.p = self.logits.softmax(1).to(dtype)
        self.row_weight = torch.rand(r, generator=generator, dtype=dtype)
        self.dot = torch.randn(k, r, c, generator=generator, dtype=dtype) + 5


class _OwnStatistics:
    """Random values, not centred, with their own statistics, and tangents of everything.

    Args:
        k: Tangents.
        shape: Of the primal values; dimension 1 has weights.
        over: Dimensions that are normalised over.
    """

    def __init__(
        self, k: int, shape: tuple[int, ...], over: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        c = shape[1]
        generator = torch.Generator().manual_seed(k + sum(shape))

        def normal(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, dtype=dtype)

        self.eps, self.over = 0.1, over
        self.x, self.delta = normal(*shape) + 2, normal(*shape)
        self.weight = torch.rand(c, generator=generator, dtype=dtype) + 0.5
        self.mean = self.x.mean(over)
        variance = (self.x - self.x.mean(over, keepdim=True)).square().mean(over)
        self.inverse = (variance + self.eps).rsqrt()
        self.x_dot, self.delta_dot = normal(k, *shape) + 1, normal(k, *shape)
        # Columns of a wider buffer, as the tangents of all parameters come.
        self.weight_dot, self.bias_dot = normal(2, k, c + 3)[..., 1 : c + 1]

    def layer(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """What all three operations take."""
        names = ("x", "mean", "inverse", "weight", "weight_dot")
        return {name: getattr(self, name).to(device) for name in names}

    def forwards(self, order: str, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Arguments of the tangents."""
        dot = block(self.x_dot.to(device), order)
        out = torch.full_like(dot, torch.nan)
        return self.layer(device) | {"dot": dot, "bias_dot": self.bias_dot.to(device), "out": out}

    def backwards(self, order: str, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Arguments of the tangents of the backward pass."""
        blocks = {n: block(getattr(self, n).to(device), order) for n in ("delta_dot", "x_dot")}
        out = torch.full_like(blocks["x_dot"], torch.nan)
        return self.layer(device) | blocks | {"delta": self.delta.to(device), "out": out}

    def form(self, order: str, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Arguments of the forms."""
        dot = block(self.x_dot.to(device), order)
        return self.layer(device) | {"dot": dot, "adjoint": self.delta.to(device)}


class LayerNormProblem(_OwnStatistics):
    """Rows (R, C) that are normalised by themselves."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        super().__init__(shape[0], shape[1:], (1,), dtype)


class BatchNormProblem(_OwnStatistics):
    """Channels of (B, C, S) that are normalised by themselves."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
        super().__init__(shape[0], shape[1:], (0, 2), dtype)

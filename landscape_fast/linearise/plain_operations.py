"""Operations of torch in their parts, where their own forms cannot be differentiated twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    # Torch's own has no batching rule, and its second derivative is wrong: the backward pass takes
    # the norm that the forward pass saved for a constant (torch 2.13).
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    found = F.relu6(input + 3) / 6
    return input.copy_(found) if inplace else found


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Any:  # noqa: ARG001
    # All differences take more memory than the distances: only where a gradient is wanted.
    if p != 2.0 or not (x1.requires_grad or x2.requires_grad):
        return NotImplemented
    squares = (x1[..., :, None, :] - x2[..., None, :, :]).square().sum(-1)
    # A distance of zero has the derivative zero, as in torch's own first one.
    apart = squares > 0
    return torch.where(apart, squares.where(apart, torch.ones_like(squares)).sqrt(), 0.0)


def _gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:
    # Torch's own asks for the sign of the variances, which a program being traced cannot know.
    if not isinstance(input, FakeTensor) or not isinstance(var, Tensor):
        return NotImplemented
    if var.shape != input.shape and var.shape == input.shape[:-1]:
        var = var[..., None]
    var = var + (var.clamp(min=eps) - var).detach()
    losses = 0.5 * (var.log() + (input - target) ** 2 / var)
    losses = losses + 0.5 * math.log(2 * math.pi) if full else losses
    return _reduced(losses, reduction)


def _multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    if input.dim() != 2 or size_average is not None or reduce is not None:
        return NotImplemented
    own = target[:, None]
    above = (margin - input.gather(1, own) + input).clamp_min(0) ** p
    above = above if weight is None else above * weight[own]
    losses = above.scatter(1, own, 0.0).mean(1)
    return _reduced(losses, reduction)


def _grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:
    if input.dim() != 4 or mode != "bilinear" or padding_mode == "reflection":
        return NotImplemented
    total: Any = 0.0
    for (left, at_left), (right, at_right) in product(
        *(
            _corners(grid[..., axis], input.shape[3 - axis], padding_mode, bool(align_corners))
            for axis in (0, 1)
        )
    ):
        places = (right * input.shape[3] + left).flatten(1)[:, None].expand(-1, input.shape[1], -1)
        values = input.flatten(2).gather(2, places).unflatten(2, grid.shape[1:3])
        total = total + values * (at_left * at_right)[:, None]
    return total


def _corners(
    along: Tensor, size: int, padding_mode: str, align_corners: bool
) -> list[tuple[Tensor, Tensor]]:
    """The two pixels around every position along one axis, with their weights."""
    at = (along + 1) / 2 * (size - 1) if align_corners else ((along + 1) * size - 1) / 2
    at = at.clamp(0, size - 1) if padding_mode == "border" else at
    low = at.detach().floor()
    share = at - low
    found = []
    for pixel, weight in ((low, 1 - share), (low + 1, share)):
        inside = (pixel >= 0) & (pixel < size)
        found.append((pixel.clamp(0, size - 1).long(), weight * inside))
    return found


def _multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    if size_average is not None or reduce is not None:
        return NotImplemented
    outputs, listed = torch.atleast_2d(input), torch.atleast_2d(target)
    counts = (
        (listed >= 0).cumprod(1).to(outputs.dtype)
    )  # a list of classes ends before its first -1
    places = listed.clamp_min(0)
    others = (torch.zeros_like(outputs).scatter_add(1, places, counts) == 0).to(outputs.dtype)
    above = (1 - outputs.gather(1, places)[:, :, None] + outputs[:, None]).clamp_min(0)
    losses = (above * counts[:, :, None] * others[:, None]).sum((1, 2)) / outputs.shape[1]
    return _reduced(losses.reshape(input.shape[:-1]), reduction)


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if not sparse:
        return NotImplemented
    return F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,  # noqa: ARG001
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,  # noqa: ARG001
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    unusual = max_norm is not None or scale_grad_by_freq or padding_idx is not None
    if unusual or mode == "max":
        return NotImplemented
    entries = F.embedding(input, weight)
    if per_sample_weights is not None:
        entries = entries * per_sample_weights[..., None]
    if input.dim() == 2:
        return entries.mean(1) if mode == "mean" else entries.sum(1)
    assert offsets is not None
    starts = offsets[:-1] if include_last_offset else offsets
    places = torch.arange(len(input), device=input.device)
    bags = torch.bucketize(places, starts, right=True) - 1
    sums = entries.new_zeros(len(starts), weight.shape[1]).index_add(0, bags, entries)
    if mode == "sum":
        return sums
    counts = entries.new_zeros(len(starts)).index_add(0, bags, torch.ones_like(entries[:, 0]))
    return sums / counts.clamp(min=1)[:, None]  # an empty bag is zero


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


_PARTS: dict[Any, Callable[..., Any]] = {
    torch._weight_norm: _weight_norm,
    F.hardsigmoid: _hardsigmoid,
    F.grid_sample: _grid_sample,
    torch.cdist: _cdist,
    F.embedding: _embedding,
    F.embedding_bag: _embedding_bag,
    F.gaussian_nll_loss: _gaussian_nll_loss,
    F.multi_margin_loss: _multi_margin_loss,
    F.multilabel_margin_loss: _multilabel_margin_loss,
}


class PlainOperations(TorchFunctionMode):
    """Computes them so, inside the block.

    Transformer layers stay off torch's path without gradients too, as under any such mode: it
    returns zeros at padding, another function than the one that is differentiated.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        parts = _PARTS.get(func)
        found = NotImplemented if parts is None else parts(*args, **kwargs)
        return func(*args, **kwargs) if found is NotImplemented else found

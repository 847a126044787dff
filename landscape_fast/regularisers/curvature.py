"""Curvature of a training loss as a penalty that can be differentiated once more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_seed, require_whole
from landscape_fast.krylov.eigen import extreme_eigenpairs, require_search
from landscape_fast.regularisers.forward_pass import require_right
from landscape_fast.regularisers.parameters import trainable


@dataclass(frozen=True, slots=True)
class TopEigenvalue:
    """Largest eigenvalue of the Hessian of a loss, with its graph."""

    value: Tensor  # scalar, differentiable
    vector: Tensor  # (n,) unit eigenvector without a graph; `start` of the next step
    residual: float  # ||H v - lambda v||
    products: int


def hessian_trace(
    loss: Tensor, parameters: nn.Module | Iterable[Tensor], *, draws: int = 1, seed: int = 0
) -> Tensor:
    r"""Hutchinson's estimate of the trace of the Hessian of ``loss``, as a penalty.

    The mean of :math:`z^\top H z` over sign vectors z: unbiased, and so is its gradient, at the
    price of a product with the Hessian and a backward pass through it per draw. Its minimum draws
    parameters to where the loss is flat: add it to the loss, times a small factor.

    Args:
        loss: Scalar with its graph, which is kept.
        parameters: A module (its trainable parameters), or tensors that require grad.
        draws: Sign vectors.
        seed: Chooses them. The same seed in every step keeps the same vectors; pass the step.

    Returns:
        A scalar with a graph.

    Raises:
        ValueError: ``loss`` is no scalar with a graph, or was computed with ``weight_norm`` outside
            of :func:`~landscape_fast.regularisers.forward_pass.differentiable_twice`;
            ``parameters`` is empty, or a number is out of range.
        TypeError: An argument is of another kind.

    References:
        Hutchinson (1989), doi:10.1080/03610918908812806. Yang et al. (2023), arXiv:2302.11085, for
        its use in training.

    Example:
        The trace of the Hessian of sum w^4 is sum 12 w^2, and its gradient 24 w:

        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> penalty = hessian_trace((w**4).sum(), [w])
        >>> penalty.backward()
        >>> penalty.item(), w.grad
        (60.0, tensor([24., 48.]))
    """
    require_whole(1, draws=draws)
    require_seed(seed)
    owned = _checked(loss, parameters)
    slope = _slope(loss, owned)
    generator = torch.Generator().manual_seed(seed)
    total = loss.new_zeros(())
    for _ in range(draws):
        signs = [
            (torch.randint(2, part.shape, generator=generator) * 2 - 1).to(part) for part in owned
        ]
        total = total + _form(slope, owned, signs)
    return total / draws


def top_eigenvalue(
    loss: Tensor,
    parameters: nn.Module | Iterable[Tensor],
    *,
    tol: float = 1e-2,
    max_products: int = 20,
    start: Tensor | None = None,
    seed: int = 0,
) -> TopEigenvalue:
    r"""Largest eigenvalue of the Hessian of ``loss``, as a penalty.

    Lanczos finds the eigenvector v; then :math:`v^\top H v` with v held fixed is differentiated,
    whose gradient is that of the eigenvalue where it is simple: a change of v changes the form by
    second order only. So an error e of v costs the value e squared, and the gradient e.

    Args:
        loss: Scalar with its graph, which is kept.
        parameters: A module (its trainable parameters), or tensors that require grad.
        tol: Residual wanted, relative to the eigenvalue.
        max_products: Bound on products with the Hessian; at the bound the best vector counts.
        start: ``vector`` of the step before, which saves products.
        seed: Chooses the random start.

    Returns:
        The value with its graph, the vector and its residual. Where the loss or its curvature is
        not finite, the value is nan, as any penalty on such a loss, and the vector that of
        ``start``: a training loop that skips steps without a finite loss goes on with it.

    Raises:
        ValueError: ``loss`` is no scalar with a graph, or was computed with ``weight_norm`` outside
            of :func:`~landscape_fast.regularisers.forward_pass.differentiable_twice`;
            ``parameters`` is empty, ``start`` has another length or is not finite, or a number is
            out of range.
        TypeError: An argument is of another kind.

    References:
        Magnus (1985), doi:10.1017/S0266466600011129, for the derivative of an eigenvalue. Yang et
        al. (2023), arXiv:2302.11085, for its use in training.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> found = top_eigenvalue((w**4).sum(), [w])
        >>> found.value.backward()
        >>> round(found.value.item(), 3), w.grad.round(decimals=3)
        (48.0, tensor([ 0., 48.]))
    """
    require_search(1, "largest", tol, 1.0, seed, max_products)
    owned = _checked(loss, parameters)
    slope = _slope(loss, owned)
    op = _Hessian(slope, owned)
    begin = None if start is None else _start(start, op)
    try:
        if not torch.isfinite(loss):
            raise FloatingPointError("the loss is not finite")
        pairs = extreme_eigenpairs(
            op, 1, tol=tol, risk=1.0, seed=seed, start=begin, max_products=max_products
        )
    except FloatingPointError:
        vector = torch.full((op.shape[0],), op.shape[0] ** -0.5, dtype=op.dtype, device=op.device)
        return TopEigenvalue(
            value=_form(slope, owned, op.split(vector)) * math.nan,
            vector=vector if begin is None else begin[0],
            residual=math.nan,
            products=0,
        )
    vector = pairs.vectors[0]
    return TopEigenvalue(
        value=_form(slope, owned, op.split(vector)),
        vector=vector,
        residual=float(pairs.residuals[0]),
        products=pairs.products,
    )


class _Hessian:
    """Products by a second backward pass through a kept graph."""

    def __init__(self, slope: Sequence[Tensor], owned: Sequence[Tensor]) -> None:
        n = sum(part.numel() for part in owned)
        self.shape = (n, n)
        wide = any(part.dtype == torch.float64 for part in owned)
        self.dtype = torch.float64 if wide else torch.float32
        self.device = owned[0].device
        self.samples = 0
        self._slope, self._owned = slope, owned

    def split(self, vector: Tensor) -> list[Tensor]:
        """A vector (n,) in the shapes and types of the parameters."""
        sizes = [part.numel() for part in self._owned]
        pairs = zip(vector.split(sizes), self._owned, strict=True)
        return [piece.view(part.shape).to(part.dtype) for piece, part in pairs]

    def __call__(self, block: Tensor) -> Tensor:
        """Multiply each row of ``block`` (k, n)."""
        rows = []
        for vector in block:
            product = _contracted(self._slope, self.split(vector))
            parts: Sequence[Tensor] = [torch.zeros_like(part) for part in self._owned]
            if product.requires_grad:
                parts = torch.autograd.grad(
                    product, self._owned, retain_graph=True, materialize_grads=True
                )
            rows.append(torch.cat([part.reshape(-1).to(self.dtype) for part in parts]))
        out = torch.stack(rows)
        if not torch.isfinite(out).all():
            raise FloatingPointError("a product with the Hessian is not finite")
        return out


def _start(start: Tensor, op: _Hessian) -> Tensor:
    """(1, n), a vector to search from."""
    if not isinstance(start, Tensor):
        raise TypeError(f"start must be a tensor (n,), got {type(start).__name__}")
    if start.shape != (op.shape[0],):
        raise ValueError(f"start has shape {tuple(start.shape)} for {op.shape[0]} parameters")
    if not torch.isfinite(start).all():
        raise ValueError("start holds values that are not finite")
    return start.detach().to(op.device, op.dtype)[None]


def _slope(loss: Tensor, owned: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, owned, create_graph=True, materialize_grads=True)


def _form(slope: Sequence[Tensor], owned: Sequence[Tensor], vector: Sequence[Tensor]) -> Tensor:
    """``v^T H v`` with a graph."""
    product = _contracted(slope, vector)
    if not product.requires_grad:  # the loss is linear
        return torch.zeros_like(product)
    parts = torch.autograd.grad(product, owned, create_graph=True, materialize_grads=True)
    return _contracted(parts, vector)


def _contracted(parts: Sequence[Tensor], vector: Sequence[Tensor]) -> Tensor:
    terms = [(part * piece).sum() for part, piece in zip(parts, vector, strict=True)]
    return torch.stack(terms).sum()


def _checked(loss: Tensor, parameters: nn.Module | Iterable[Tensor]) -> list[Tensor]:
    owned = trainable(parameters)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise ValueError("loss must be a scalar tensor with its graph")
    require_right(loss)
    return owned

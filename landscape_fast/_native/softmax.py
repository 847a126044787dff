"""The second derivative of softmax cross-entropy."""

from __future__ import annotations

from torch import Tensor

from landscape_fast import _C


def softmax_tangent_(p: Tensor, dot: Tensor, row_weight: Tensor, out: Tensor) -> Tensor:
    r"""Hessian of weighted cross-entropy times logit tangents, into ``out`` and return it.

    .. math:: t_{kr} = w_r (p_r \odot z'_{kr} - p_r (p_r \cdot z'_{kr}))

    ``p`` is ``(R, C)``, ``row_weight`` ``(R,)``, ``dot`` and ``out`` are ``(K, R, C)``, one or two.
    """
    return _C.softmax_tangent_(p, dot, row_weight, out)


def softmax_quadratic(p: Tensor, dot: Tensor, row_weight: Tensor) -> Tensor:
    r"""Its forms :math:`\sum_r w_r \mathrm{Var}_{p_r}(z'_{kr})`, ``(K,)`` float64."""
    return _C.softmax_quadratic(p, dot, row_weight)

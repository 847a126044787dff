"""Tangents of activations and of their backward passes."""

from __future__ import annotations

from torch import Tensor

from landscape_fast import _C


def pointwise_tangent_(kind: str, z: Tensor, dot: Tensor, out: Tensor) -> Tensor:
    r"""Tangents of an activation, :math:`f'(z) \dot z`, into ``out`` and return it.

    Args:
        kind: "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid" or "softplus" of torch.
        z: ``(R, C)``.
        dot: ``(K, R, C)``.
        out: ``(K, R, C)``, overwritten; may be ``dot`` itself.
    """
    return _C.pointwise_tangent_(kind, z, dot, out)


def pointwise_gradient_tangent_(
    kind: str,
    z: Tensor,
    delta: Tensor,
    z_dot: Tensor | None,
    delta_dot: Tensor | None,
    out: Tensor,
) -> Tensor:
    r"""Tangents of its backward pass, :math:`f''(z) \delta \dot z + f'(z) \dot\delta`.

    Args:
        kind: As in :func:`pointwise_tangent_`.
        z: ``(R, C)``.
        delta: Gradient that arrives, ``(R, C)``.
        z_dot: ``(K, R, C)``.
        delta_dot: ``(K, R, C)``; one of the two may be ``None``.
        out: ``(K, R, C)``, overwritten and returned; may be one of the two itself.
    """
    return _C.pointwise_gradient_tangent_(kind, z, delta, z_dot, delta_dot, out)


def pointwise_quadratic(kind: str, z: Tensor, adjoint: Tensor, z_dot: Tensor) -> Tensor:
    r""":math:`\sum_{rc} \lambda f''(z) \dot z^2`, ``(K,)`` float64, of ``z_dot`` ``(K, R, C)``."""
    return _C.pointwise_quadratic(kind, z, adjoint, z_dot)

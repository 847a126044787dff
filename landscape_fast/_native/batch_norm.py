"""Tangents of batch normalisation by the batch's own statistics, and its second-order term."""

from __future__ import annotations

from torch import Tensor

from landscape_fast import _C


def batch_norm_tangent_(
    dot: Tensor | None,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    bias_dot: Tensor | None,
    out: Tensor,
) -> Tensor:
    r"""Tangents of :math:`y = w n + b` with :math:`n = (x - m) s`, into ``out`` and return it.

    Mean and inverse deviation are those of each channel of ``x`` and move with it. With
    :math:`\langle\cdot\rangle` the mean over B and S,

    .. math:: n' = s (x' - \langle x' \rangle - n \langle x' n \rangle),\quad y' = w n' + w' n + b'

    Args:
        dot: :math:`x'`, ``(K, B, C, S)``.
        x: ``(B, C, S)``.
        mean: :math:`m`, ``(C,)``.
        inverse: :math:`s`, one over the deviation, ``(C,)``.
        weight: :math:`w`, ``(C,)``; ``None`` where it is one.
        weight_dot: :math:`w'`, ``(K, C)`` with contiguous rows.
        bias_dot: :math:`b'`, ``(K, C)`` with contiguous rows.
        out: :math:`y'`, ``(K, B, C, S)``, overwritten.
    """
    return _C.batch_norm_tangent_(dot, x, mean, inverse, weight, weight_dot, bias_dot, out)


def batch_norm_gradient_tangent_(
    delta_dot: Tensor | None,
    x_dot: Tensor | None,
    delta: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Tangents of its backward pass, those of the gradient in ``x`` into ``out``.

    The gradient is :math:`s (d - \langle d \rangle - n \langle d n \rangle)` with
    :math:`d = w \delta`.

    Args:
        delta_dot: Tangents of ``delta``, ``(K, B, C, S)``.
        x_dot: Tangents of ``x``, ``(K, B, C, S)``.
        delta: Gradient in :math:`y`, ``(B, C, S)``.
        x: As in :func:`batch_norm_tangent_`, like all that follow but ``out``.
        mean: ``(C,)``.
        inverse: ``(C,)``.
        weight: ``(C,)``.
        weight_dot: ``(K, C)`` with contiguous rows.
        out: ``(K, B, C, S)``, overwritten.

    Returns:
        Tangents of the gradients in weight and bias, both ``(K, C)`` float64:
        :math:`\sum_{bs} \delta' n + \delta n'` and :math:`\sum_{bs} \delta'`.
    """
    return _C.batch_norm_gradient_tangent_(
        delta_dot, x_dot, delta, x, mean, inverse, weight, weight_dot, out
    )


def batch_norm_quadratic(
    dot: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    adjoint: Tensor,
) -> Tensor:
    r"""Second derivative along the tangents, :math:`\sum_{bcs} \lambda y''`, ``(K,)`` float64.

    .. math:: y'' = -s w (2 \langle x' n \rangle n' + n \langle n' x' \rangle_0) + 2 w' n'

    with :math:`\langle n' x' \rangle_0` the covariance over B and S. ``adjoint`` is
    :math:`\lambda`, ``(B, C, S)``; the others are as in :func:`batch_norm_tangent_`.
    """
    return _C.batch_norm_quadratic(dot, x, mean, inverse, weight, weight_dot, adjoint)

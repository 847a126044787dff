"""Tangents of layer normalisation, forwards and backwards, and its second-order term."""

from __future__ import annotations

from torch import Tensor

from landscape_fast import _C


def layer_norm_tangent_(
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

    Mean and inverse deviation are those of each row of ``x`` and move with it. With
    :math:`\langle\cdot\rangle` the mean over a row,

    .. math:: n' = s (x' - \langle x' \rangle - n \langle x' n \rangle),\quad y' = w n' + w' n + b'

    Args:
        dot: :math:`x'`, ``(K, R, C)``.
        x: ``(R, C)``.
        mean: :math:`m`, ``(R,)``.
        inverse: :math:`s`, one over the deviation, ``(R,)``.
        weight: :math:`w`, ``(C,)``; ``None`` where it is one.
        weight_dot: :math:`w'`, ``(K, C)`` with contiguous rows.
        bias_dot: :math:`b'`, ``(K, C)`` with contiguous rows.
        out: :math:`y'`, ``(K, R, C)``, overwritten.
    """
    return _C.layer_norm_tangent_(dot, x, mean, inverse, weight, weight_dot, bias_dot, out)


def layer_norm_gradient_tangent_(
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
        delta_dot: Tangents of ``delta``, ``(K, R, C)``.
        x_dot: Tangents of ``x``, ``(K, R, C)``.
        delta: Gradient in :math:`y`, ``(R, C)``.
        x: As in :func:`layer_norm_tangent_`, like all that follow but ``out``.
        mean: ``(R,)``.
        inverse: ``(R,)``.
        weight: ``(C,)``.
        weight_dot: ``(K, C)`` with contiguous rows.
        out: ``(K, R, C)``, overwritten.

    Returns:
        Tangents of the gradients in weight and bias, both ``(K, C)`` float64:
        :math:`\sum_r \delta' n + \delta n'` and :math:`\sum_r \delta'`.
    """
    return _C.layer_norm_gradient_tangent_(
        delta_dot, x_dot, delta, x, mean, inverse, weight, weight_dot, out
    )


def layer_norm_quadratic(
    dot: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    adjoint: Tensor,
) -> Tensor:
    r"""Second derivative along the tangents, :math:`\sum_{rc} \lambda y''`, ``(K,)`` float64.

    .. math:: y'' = -s w (2 \langle x' n \rangle n' + n \langle n' x' \rangle_0) + 2 w' n'

    with :math:`\langle n' x' \rangle_0` the covariance over a row. ``adjoint`` is :math:`\lambda`,
    ``(R, C)``; the others are as in :func:`layer_norm_tangent_`.
    """
    return _C.layer_norm_quadratic(dot, x, mean, inverse, weight, weight_dot, adjoint)

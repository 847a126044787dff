"""Tangents of a normalisation with given statistics, a sum and a relu."""

from __future__ import annotations

from torch import Tensor

from landscape_fast import _C


def affine_norm_tangent_(
    first: Tensor | None,
    second: Tensor | None,
    result: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    weight_dot: Tensor | None,
    bias_dot: Tensor | None,
    residual: Tensor | None,
    output: Tensor | None,
) -> Tensor:
    r"""Tangents of ``relu((x - mean) * scale * weight + bias + residual)``; return ``result``.

    .. math:: t = [y > 0] (x' g_c + (x - m_c) s_c w'_{kc} + b'_{kc} + r'),\quad x' = u + v

    Args:
        first: :math:`u`, ``(K, B, C, S)``; overwritten with :math:`x'` where ``second`` is given.
        second: :math:`v`; only together with ``first``.
        result: :math:`t`, overwritten; may be ``second`` itself and share no other memory.
        x: ``(B, C, S)``.
        mean: :math:`m`, ``(C,)``.
        scale: :math:`s`, one over the deviation, ``(C,)``.
        gain: :math:`g`, ``scale * weight``, ``(C,)``.
        weight_dot: :math:`w'`, ``(K, C)`` with contiguous rows.
        bias_dot: :math:`b'`, ``(K, C)`` with contiguous rows.
        residual: :math:`r'`, ``(K, B, C, S)``.
        output: :math:`y`, ``(B, C, S)``; ``None`` where there is no relu.
    """
    _C.affine_norm_tangent_(
        first, second, result, x, mean, scale, gain, weight_dot, bias_dot, residual, output
    )
    return result


def affine_norm_gradient_tangent_(
    first: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    delta: Tensor,
    x: Tensor,
    x_dot: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    weight_dot: Tensor | None,
    output: Tensor | None,
) -> tuple[Tensor, Tensor]:
    r"""Tangents of the backward pass of :func:`affine_norm_tangent_`'s function.

    .. math:: \delta' = [y > 0] (u + v),\quad t = \delta' g_c + \delta s_c w'_{kc}

    Args:
        first: :math:`u`, ``(K, B, C, S)``, overwritten with :math:`\delta'`.
        second: :math:`v`.
        result: :math:`t`, tangents of the gradient in ``x``, overwritten; may be ``second`` itself.
        delta: Gradient that arrives at the normalisation, behind the relu's mask, ``(B, C, S)``.
        x: ``(B, C, S)``.
        x_dot: ``(K, B, C, S)``.
        mean: ``(C,)``, like ``scale`` and ``gain`` as in :func:`affine_norm_tangent_`.
        scale: ``(C,)``.
        gain: ``(C,)``.
        weight_dot: ``(K, C)`` with contiguous rows.
        output: :math:`y`, ``(B, C, S)``; ``None`` where there is no relu.

    Returns:
        Tangents of the gradients in weight and bias, both ``(K, C)`` float64:
        :math:`\sum_{bs} \delta' (x - m_c) s_c + x' \delta s_c` and :math:`\sum_{bs} \delta'`.
    """
    return _C.affine_norm_gradient_tangent_(
        first, second, result, delta, x, x_dot, mean, scale, gain, weight_dot, output
    )

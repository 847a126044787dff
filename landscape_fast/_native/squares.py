"""Sums of squared per-sample gradients, without these in memory.

Samples are B, cotangents of each K. Blocks are as tangents are: any stride over the first two.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from landscape_fast import _C


def square_sums(block: Tensor) -> Tensor:
    r"""Squares added up over K and B: :math:`s_j = \sum_{kb} x_{kbj}^2`.

    Args:
        block: ``(K, B, n)``.

    Returns:
        ``(n,)`` float64 on the device of ``block``.

    Example:
        >>> import torch
        >>> square_sums(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]))
        tensor([10., 20.], dtype=torch.float64)
    """
    return _C.square_sums(block)


def filter_squares(
    delta: Tensor,
    x: Tensor,
    window: Sequence[int],
    *,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    r"""Squared gradients of a convolution's filters, of every sample and cotangent alone.

    .. math:: s_{oiuv} = \sum_{kb} \Big(\sum_p \delta_{kbop} x_{bi,\mathrm{at}(p,u,v)}\Big)^2

    The inner sum is in the data's type, in the order of positions; the outer one is float64.

    Args:
        delta: Gradients that arrive, ``(K, B, O, P)``, P positions of the output line by line.
        x: ``(B, I, H, W)``, contiguous, in the dtype of ``delta``; both on the CPU.
        window: Height and width of a filter; the others are as in torch.
        stride: Of the window.
        padding: Zeros around ``x``.
        dilation: Of the window.
        groups: Of channels.

    Returns:
        ``(O, I / groups, height, width)`` float64.
    """
    pairs = (tuple(window), tuple(stride), tuple(padding), tuple(dilation))
    return _C.filter_squares(delta, x, *pairs, groups).permute(0, 3, 1, 2)


def affine_norm_squares_(
    first: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    output: Tensor | None,
) -> tuple[Tensor, Tensor]:
    r"""Cotangents through a normalisation with given statistics, and its squared gradients.

    .. math:: \delta = [y > 0] (u + v),\quad t = \delta g_c

    Args:
        first: :math:`u`, ``(K, B, C, S)`` on the CPU, overwritten with :math:`\delta`.
        second: :math:`v`.
        result: :math:`t`, gradients in ``x``, overwritten; may be ``second`` itself.
        x: ``(B, C, S)``.
        mean: :math:`m`, ``(C,)``.
        scale: :math:`s`, one over the deviation, ``(C,)``.
        gain: :math:`g`, ``scale * weight``, ``(C,)``.
        output: :math:`y`, ``(B, C, S)``; ``None`` where there is no relu.

    Returns:
        Squared gradients of weight and bias, both ``(C,)`` float64:
        :math:`\sum_{kb} (\sum_s \delta (x - m_c) s_c)^2` and :math:`\sum_{kb} (\sum_s \delta)^2`.
    """
    return _C.affine_norm_squares_(first, second, result, x, mean, scale, gain, output)

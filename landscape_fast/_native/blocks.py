"""Inner products and projections of blocks of long vectors."""

from __future__ import annotations

from torch import Tensor

from landscape_fast import _C


def row_dots(x: Tensor, y: Tensor) -> Tensor:
    r"""Inner products of matching rows, :math:`d_i = \sum_j x_{ij} y_{ij}`.

    Args:
        x: ``(k, n)``.
        y: ``(k, n)``, dtype and device of ``x``; may be ``x`` itself (squared norms).

    Returns:
        ``(k,)`` float64 on the device of ``x``.

    Example:
        >>> import torch
        >>> row_dots(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([11.], dtype=torch.float64)
    """
    return _C.row_dots(x, y)


def block_dots(x: Tensor, y: Tensor) -> Tensor:
    r"""All inner products of two blocks, :math:`D = X Y^\top`.

    Args:
        x: ``(k, n)``.
        y: ``(m, n)``, dtype and device of ``x``; may be ``x`` itself.

    Returns:
        ``(k, m)`` float64 on the device of ``x``.
    """
    return _C.block_dots(x, y)


def block_update_(y: Tensor, coefficients: Tensor, basis: Tensor) -> Tensor:
    r"""Subtract combinations of basis rows in place, :math:`Y \leftarrow Y - C B`; return ``y``.

    Computed in float64 and rounded once on store.

    Args:
        y: ``(k, n)``, overwritten; shares no memory with the others.
        coefficients: ``(k, m)`` float64.
        basis: ``(m, n)``, dtype and device of ``y``.
    """
    _C.block_update_(y, coefficients, basis)
    return y


def orthogonalise_(block: Tensor, basis: Tensor) -> Tensor:
    r"""Project the rows of ``basis`` out of ``block`` in place, twice (CGS2).

    Two rounds of :math:`C = Y B^\top`, :math:`Y \leftarrow Y - C B`. Twice is enough: the rows
    left behind are orthogonal to the basis up to the rounding of their own dtype, however small
    they became. Rows of ``block`` are not made orthogonal to each other.

    Args:
        block: ``(k, n)``, overwritten; shares no memory with ``basis``.
        basis: ``(m, n)`` with orthonormal rows, dtype and device of ``block``.

    Returns:
        ``(k, m)`` float64, the sum of both rounds' coefficients: ``block`` as it came in equals
        ``coefficients @ basis`` plus ``block`` as it is left.

    References:
        Giraud, Langou, Rozloznik, van den Eshof (2005), doi:10.1007/s00211-005-0615-4.

    Example:
        >>> import torch
        >>> block = torch.tensor([[3.0, 4.0]])
        >>> orthogonalise_(block, torch.tensor([[1.0, 0.0]])), block
        (tensor([[3.]], dtype=torch.float64), tensor([[0., 4.]]))
    """
    return _C.orthogonalise_(block, basis)

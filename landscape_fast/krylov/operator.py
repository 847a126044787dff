"""What an algorithm may ask of a symmetric operator, and the dense one that tests trust."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class SymmetricOperator(Protocol):
    """A symmetric linear map on vectors of length n, applied to blocks of rows."""

    shape: tuple[int, int]
    dtype: torch.dtype  # float32 or float64
    device: torch.device
    samples: int  # rows of data behind it, 0 for none

    def __call__(self, block: Tensor, /) -> Tensor:
        """Multiply each row of ``block`` (k, n)."""
        ...


class DenseOperator:
    """A symmetric matrix as an operator.

    Args:
        matrix: (n, n), float32 or float64, symmetric to rounding.

    Raises:
        ValueError: The matrix is not square, not symmetric, or of another dtype.

    Example:
        >>> op = DenseOperator(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> op(torch.tensor([[1.0, 1.0]]))
        tensor([[3., 3.]])
    """

    def __init__(self, matrix: Tensor) -> None:
        if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"matrix must be square, got shape {tuple(matrix.shape)}")
        if matrix.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"matrix must be float32 or float64, got {matrix.dtype}")
        slack = 100 * torch.finfo(matrix.dtype).eps * matrix.abs().max() if matrix.numel() else 0.0
        if not ((matrix - matrix.T).abs() <= slack).all():
            raise ValueError("matrix must be symmetric")
        self._matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[0])
        self.dtype = matrix.dtype
        self.device = matrix.device
        self.samples = 0

    def __call__(self, block: Tensor) -> Tensor:
        """Multiply each row of ``block`` (k, n)."""
        return block @ self._matrix

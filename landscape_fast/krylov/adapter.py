"""Operators of other libraries in the place of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape_fast.krylov.operator import DenseOperator, SymmetricOperator


def as_operator(operator: Any) -> SymmetricOperator:
    """Anything that multiplies with a symmetric matrix, as an operator on blocks of rows.

    Taken are operators of this package (as they are), symmetric matrices as tensors, numpy arrays
    or scipy's sparse ones, ``scipy.sparse.linalg.LinearOperator``, and objects whose ``@`` takes a
    tensor of columns, as those of curvlinops. Symmetry is checked for tensors and arrays alone.

    Args:
        operator: The matrix, (n, n), real.

    Returns:
        Its products, shape, dtype (float32 or float64) and device; ``samples`` is 0 where the
        operator does not say.

    Raises:
        ValueError: It is not square, not real, or in half precision.
        TypeError: It is nothing of the kind.

    Example:
        >>> from scipy.sparse.linalg import aslinearoperator
        >>> op = as_operator(aslinearoperator(np.diag([1.0, 2.0])))
        >>> op(torch.ones(1, 2, dtype=torch.float64))
        tensor([[1., 2.]], dtype=torch.float64)
    """
    shape, dtype = getattr(operator, "shape", None), getattr(operator, "dtype", None)
    if shape is None or dtype is None:
        raise TypeError(
            "operator must have a shape, a dtype and products, as operators of this package, of "
            f"scipy.sparse.linalg or of curvlinops have; got {type(operator).__name__}"
        )
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"operator must be square, got shape {tuple(shape)}")
    if isinstance(operator, Tensor):
        return DenseOperator(operator.detach())
    if isinstance(operator, np.ndarray):
        return DenseOperator(torch.from_numpy(operator))
    if isinstance(dtype, torch.dtype):
        ours = hasattr(operator, "samples") and hasattr(operator, "device") and callable(operator)
        return operator if ours else Columns(operator)
    return HostOperator(operator)


class HostOperator:
    """A scipy operator or sparse matrix; products are made on the host.

    Args:
        operator: Anything that ``scipy.sparse.linalg.aslinearoperator`` takes.
    """

    def __init__(self, operator: Any) -> None:
        from scipy.sparse.linalg import aslinearoperator  # half a second that few callers need

        self._operator = aslinearoperator(operator)
        n = int(self._operator.shape[0])
        self.shape = (n, n)
        self.dtype = _real(torch.from_numpy(np.zeros(0, dtype=self._operator.dtype)).dtype)
        self.device = torch.device("cpu")
        self.samples = 0

    def __call__(self, block: Tensor) -> Tensor:
        """Multiply each row of ``block`` (k, n)."""
        product = self._operator.matmat(block.T.contiguous().numpy())
        return torch.from_numpy(np.ascontiguousarray(np.asarray(product).T)).to(self.dtype)


class Columns:
    """An operator on tensors that multiplies columns by ``@``.

    Args:
        operator: Has a shape and a torch dtype; its device is asked for, else the CPU is taken.
    """

    def __init__(self, operator: Any) -> None:
        self._operator = operator
        n = int(operator.shape[0])
        self.shape = (n, n)
        self.dtype = _real(operator.dtype)
        self.device = torch.device(getattr(operator, "device", "cpu"))
        self.samples = int(getattr(operator, "samples", 0))

    def __call__(self, block: Tensor) -> Tensor:
        """Multiply each row of ``block`` (k, n)."""
        product: Tensor = self._operator @ block.T.contiguous()
        return product.detach().to(self.device, self.dtype).T.contiguous()


def _real(dtype: torch.dtype) -> torch.dtype:
    """The dtype of vectors, where one is possible; whole numbers take float64."""
    if dtype in (torch.float32, torch.float64):
        return dtype
    if dtype.is_floating_point or dtype.is_complex:
        raise ValueError(f"operator must be float32 or float64, got {dtype}")
    return torch.float64

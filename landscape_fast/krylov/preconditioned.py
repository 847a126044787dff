"""A symmetric operator seen through a diagonal preconditioner."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape_fast.krylov.operator import SymmetricOperator


class PreconditionedOperator:
    r""":math:`D^{-1/2} A D^{-1/2}` with a positive diagonal D.

    Args:
        op: Symmetric operator A on vectors of length n.
        preconditioner: (n,), the diagonal of D.

    Attributes:
        scale: (n,), the diagonal of :math:`D^{-1/2}`. It takes a gradient to these coordinates.

    Raises:
        ValueError: The preconditioner has another length, or an entry that is not positive and
            finite.

    References:
        Cohen et al. (2022), arXiv:2207.14484.

    Example:
        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> op = DenseOperator(torch.diag(torch.tensor([8.0, 1.0])))
        >>> PreconditionedOperator(op, torch.tensor([4.0, 1.0]))(torch.ones(1, 2))
        tensor([[2., 1.]])
    """

    def __init__(self, op: SymmetricOperator, preconditioner: Tensor) -> None:
        if tuple(preconditioner.shape) != op.shape[1:]:
            raise ValueError(
                f"preconditioner must have the shape ({op.shape[0]},), got "
                f"{tuple(preconditioner.shape)}"
            )
        diagonal = preconditioner.detach().to(op.device, torch.float64)
        bad = ~((diagonal > 0) & torch.isfinite(diagonal))
        if bad.any():
            place = int(bad.nonzero()[0])
            raise ValueError(
                "preconditioner must be positive and finite, but entry "
                f"{place} is {float(diagonal[place])}"
            )
        self._op = op
        self.scale = diagonal.rsqrt().to(op.dtype)
        self.shape = op.shape
        self.dtype = op.dtype
        self.device = op.device
        self.samples = op.samples

    def __call__(self, block: Tensor) -> Tensor:
        """Multiply each row of ``block`` (k, n)."""
        return self._op(block * self.scale).mul_(self.scale)

"""Residuals from products made for the purpose, where those of a recurrence would be rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.krylov.basis import combine, row_norms
from landscape_fast.krylov.ends import Ends
from landscape_fast.krylov.operator import SymmetricOperator


def certified(op: SymmetricOperator, vectors: Tensor, which: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rayleigh-Ritz on found vectors with products of their own, and their residuals."""
    image = op(vectors)
    projection = _native.block_dots(vectors, image).cpu()
    theta, y = torch.linalg.eigh((projection + projection.T) / 2)
    order = Ends.of(theta, len(theta), which).order
    theta, rotation = theta[order], y[:, order].T
    vectors, image = combine(rotation, vectors), combine(rotation, image)
    _native.block_update_(image, torch.diag(theta).to(op.device), vectors)
    return theta, vectors, row_norms(image).cpu()

"""Lanczos tridiagonalisation of several independent starts, multiplied as one block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.krylov.basis import NEGLIGIBLE, row_norms
from landscape_fast.krylov.operator import SymmetricOperator


@dataclass(frozen=True, slots=True, kw_only=True)
class Tridiagonal:
    """Tridiagonal matrices ``T_i = Q_i A Q_i^T``, one per start."""

    diagonal: Tensor  # (k, m) float64
    offdiagonal: Tensor  # (k, m - 1) float64, >= 0
    depth: Tensor  # (k,) int64, rows of T_i that are valid; less than m after a breakdown


def tridiagonalise(op: SymmetricOperator, starts: Tensor, steps: int) -> Tridiagonal:
    """Run ``steps`` Lanczos steps from each row of ``starts`` with full re-orthogonalisation.

    Each step multiplies all starts as one block. A start whose Krylov space becomes invariant ends
    there: its ``depth`` says where, and it costs no further products.

    Args:
        op: Symmetric operator on vectors of length n.
        starts: (k, n) start vectors, not zero; they need not be normalised.
        steps: m, the depth wanted, at most n.

    Raises:
        ValueError: ``steps`` is not between 1 and n, or a start is zero.

    References:
        Lanczos (1950), doi:10.6028/jres.045.026; Paige (1972), doi:10.1093/imamat/10.3.373.
    """
    k, n = starts.shape
    if not 1 <= steps <= n:
        raise ValueError(f"steps must be between 1 and n={n}, got {steps}")
    norms = row_norms(starts.contiguous())
    if not (norms > 0).all():
        raise ValueError("starts has a zero row")
    bases = torch.empty(k, steps, n, dtype=op.dtype, device=op.device)
    bases[:, 0] = starts / norms.to(starts.dtype)[:, None]
    diagonal = torch.zeros(k, steps, dtype=torch.float64)
    offdiagonal = torch.zeros(k, max(steps - 1, 0), dtype=torch.float64)
    depth = torch.full((k,), steps)
    scale = torch.zeros(k, dtype=torch.float64)
    alive = list(range(k))
    for step in range(steps):
        images = op(bases[alive, step])
        image_norms = row_norms(images).cpu()
        for row, start in enumerate(list(alive)):
            image = images[row : row + 1]
            scale[start] = torch.maximum(scale[start], image_norms[row])
            basis = bases[start, : step + 1]
            diagonal[start, step] = _native.orthogonalise_(image, basis)[0, step].cpu()
            if step + 1 == steps:
                continue
            left = float(row_norms(image))
            if left <= NEGLIGIBLE * torch.finfo(op.dtype).eps * float(scale[start]):
                depth[start] = step + 1
                alive.remove(start)
                continue
            offdiagonal[start, step] = left
            following = bases[start, step + 1 : step + 2]
            following.copy_(image / left)
            # The division magnifies what rounding left of the basis in a short remainder.
            _native.orthogonalise_(following, basis)
            following.div_(row_norms(following).to(op.dtype))
        if not alive:
            break
    return Tridiagonal(diagonal=diagonal, offdiagonal=offdiagonal, depth=depth)

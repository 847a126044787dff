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
    residual: Tensor  # (k,) float64, norm of A Q_i^T - Q_i^T T_i, all of it in the last column
    scale: float  # largest norm of a product of a unit vector

    @staticmethod
    def joined(parts: list[Tridiagonal]) -> Tridiagonal:
        """Those of several runs of one depth, in order."""
        return Tridiagonal(
            diagonal=torch.cat([part.diagonal for part in parts]),
            offdiagonal=torch.cat([part.offdiagonal for part in parts]),
            depth=torch.cat([part.depth for part in parts]),
            residual=torch.cat([part.residual for part in parts]),
            scale=max(part.scale for part in parts),
        )


def tridiagonalise(op: SymmetricOperator, starts: Tensor, steps: int) -> Tridiagonal:
    """Run ``steps`` Lanczos steps from each row of ``starts`` with full re-orthogonalisation.

    Each step multiplies all starts as one block. A start whose Krylov space becomes invariant ends
    there: its ``depth`` says where, and it costs no further products.

    The three-term recurrence comes first, then one round of Gram-Schmidt against the whole basis.
    The recurrence takes out all of the basis but rounding, so that this is the second of the two
    rounds that are enough (Parlett 1998, section 6.9), and the basis is read twice per step. Where
    a round removes more than it leaves, near a breakdown, another follows.

    Args:
        op: Symmetric operator on vectors of length n.
        starts: (k, n) start vectors, not zero; they need not be normalised.
        steps: m, the depth wanted, at most n. Memory is ``k * m * n`` elements.

    Raises:
        ValueError: ``steps`` is not between 1 and n, or a start is zero.

    References:
        Lanczos (1950), doi:10.6028/jres.045.026; Paige (1972), doi:10.1093/imamat/10.3.373.
        Parlett (1998), The Symmetric Eigenvalue Problem, doi:10.1137/1.9781611971163.
    """
    k, n = starts.shape
    if not 1 <= steps <= n:
        raise ValueError(f"steps must be between 1 and n={n}, got {steps}")
    norms = row_norms(starts.contiguous())
    if not (norms > 0).all():
        raise ValueError("starts has a zero row")
    bases = torch.empty(k, steps, n, dtype=op.dtype, device=op.device)
    torch.div(starts, norms.to(starts.dtype)[:, None], out=bases[:, 0])
    diagonal = torch.zeros(k, steps, dtype=torch.float64)
    offdiagonal = torch.zeros(k, max(steps - 1, 0), dtype=torch.float64)
    depth = torch.full((k,), steps)
    scale = torch.zeros(k, dtype=torch.float64)
    negligible = NEGLIGIBLE * torch.finfo(op.dtype).eps
    residual = torch.zeros(k, dtype=torch.float64)
    alive = list(range(k))
    for step in range(steps):
        newest = bases[:, step] if len(alive) == k else bases[alive, step]
        images = op(newest)
        if images.untyped_storage().data_ptr() == bases.untyped_storage().data_ptr():
            images = images.clone()  # an operator may hand back what it was given
        known = [bases[start, : step + 1] for start in alive]
        before = offdiagonal[alive, step - 1] if step else None
        diagonal[alive, step], left, sizes = _reduce(images, newest, known, before)
        scale[alive] = torch.maximum(scale[alive], sizes)
        residual[alive] = left
        if step + 1 == steps:
            break
        ended = (left <= negligible * scale[alive]).tolist()
        for row, start in enumerate(list(alive)):
            if ended[row]:
                depth[start] = step + 1
                alive.remove(start)
            else:
                offdiagonal[start, step] = left[row]
                torch.div(images[row], float(left[row]), out=bases[start, step + 1])
        if not alive:
            break
    return Tridiagonal(
        diagonal=diagonal,
        offdiagonal=offdiagonal,
        depth=depth,
        residual=residual,
        scale=float(scale.max()),
    )


def _reduce(
    images: Tensor, newest: Tensor, bases: list[Tensor], before: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Remove from every product, in place, its own basis.

    Args:
        images: (k, n), products of ``newest`` (k, n).
        newest: The last row of every basis.
        bases: k bases (m, n).
        before: (k,) coefficients of the last row but one, from the step before; None at the first.

    Returns:
        Coefficients of the last row, norms of what is left and norms of the products, all (k,)
        float64 on the CPU.
    """
    sizes, last = row_norms(images), _native.row_dots(images, newest)
    recent = last[:, None]
    if before is not None:
        recent = torch.stack([before.to(last.device), last], 1)
    removed = []
    for row, basis in enumerate(bases):
        image = images[row : row + 1]
        _native.block_update_(image, recent[row : row + 1], basis[-recent.shape[1] :])
        removed.append(_native.block_dots(image, basis))
        _native.block_update_(image, removed[-1], basis)
    first = torch.cat(removed)
    found = torch.stack([last + first[:, -1], first.norm(dim=1), row_norms(images), sizes])
    diagonal, removal, left, sizes = found.cpu()  # the one wait for a device in an ordinary step
    for row in (removal > left).nonzero()[:, 0].tolist():
        image = images[row : row + 1]
        diagonal[row] += _native.orthogonalise_(image, bases[row])[0, -1].cpu()
        left[row] = row_norms(image)[0].cpu()
    return diagonal, left, sizes

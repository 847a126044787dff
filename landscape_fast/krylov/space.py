"""A search space and what an operator makes of it: ``A X = C [X; F]``, as the products gave it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.krylov.basis import Basis, combine, row_norms
from landscape_fast.krylov.operator import SymmetricOperator

# Norm of the random vector added to a start of norm 1: small enough to keep what the start knows,
# large enough that no eigenvector it lacks has to grow out of rounding.
MIXED = 0.1


@dataclass(slots=True)
class Aside:
    """A frontier F taken off its space, and the term ``F^T gamma F`` added to products since."""

    rows: Tensor  # F, (f, n)
    coupling: Tensor  # ``X A F^T``, (m, f)
    gamma: Tensor  # (f, f) float64
    added: Tensor  # (c, f): per row multiplied since, the coefficients of F that were added

    def forget_chain(self) -> None:
        """Nothing has been multiplied since."""
        self.added = self.added[:0]


class SearchSpace:
    """Orthonormal rows X that have been multiplied, and rows F, the frontier, that have not.

    Every image of a row of X lies in the span of X and F, up to rounding of the product, and its
    coefficients are kept as they were measured. So the residual of any combination of X is known
    without another product: ``A (y X) - theta y X = (y C - theta [y, 0]) [X; F]``.

    Args:
        op: Symmetric operator on vectors of length n.
        capacity: Rows of memory, X and F together.
        seed: Chooses the random rows.
    """

    def __init__(self, op: SymmetricOperator, capacity: int, seed: int) -> None:
        like = torch.empty(0, op.shape[0], dtype=op.dtype, device=op.device)
        self._op = op
        self.basis = Basis(min(capacity, op.shape[0]), like, seed=seed)
        self._images = torch.zeros(0, 0, dtype=torch.float64)  # C, (multiplied, rows)
        self.products = 0
        self.scale = 0.0  # largest norm of an image of a unit row: a lower bound on ||A||

    @property
    def multiplied(self) -> int:
        """Rows of X."""
        return len(self._images)

    @property
    def frontier(self) -> int:
        """Rows of F."""
        return self.basis.size - len(self._images)

    @property
    def dimension(self) -> int:
        """Length n of the vectors."""
        return self._op.shape[0]

    @property
    def capacity(self) -> int:
        """Rows of memory."""
        return self.basis.capacity

    @property
    def room(self) -> int:
        """Rows that memory still holds; n where it holds the whole space."""
        whole = self.capacity == self.dimension
        return self.dimension if whole else self.capacity - self.basis.size

    @property
    def projection(self) -> Tensor:
        """``X A X^T``, symmetric."""
        corner = self._images[:, : self.multiplied]
        return (corner + corner.T) / 2

    @property
    def coupling(self) -> Tensor:
        """``X A F^T``."""
        return self._images[:, self.multiplied :]

    def append_random(self, count: int) -> int:
        """Add random rows to the frontier while there is room in n; returns how many."""
        added = self.basis.append_random(count)
        self._images = _padded(self._images, 0, added)
        return added

    def append(self, start: Tensor, *, mixed: bool = False) -> int:
        """Add rows that span what ``start`` (p, n) adds to the space; returns how many.

        Args:
            start: The rows.
            mixed: Whether each, brought to norm 1, gets a random vector of norm ``MIXED`` added, so
                that no eigenvector is orthogonal to it.

        Raises:
            ValueError: It is no such tensor.
        """
        if not isinstance(start, Tensor) or start.dim() != 2 or start.shape[1] != self._op.shape[0]:
            shape = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
            raise ValueError(f"start must be a tensor (p, {self._op.shape[0]}), got {shape}")
        if not len(start) or not torch.isfinite(start).all():
            raise ValueError("start must hold at least one row, all of finite numbers")
        block = start.detach().to(self._op.device, self._op.dtype, copy=True)
        if mixed:
            norms = row_norms(block).to(block.dtype)[:, None]
            block.div_(norms.where(norms > 0, 1.0)).add_(self.basis.draw(len(block)), alpha=MIXED)
        self.basis.project_out(block)
        added = self.basis.extend(block, float(row_norms(block).max())).shape[1]
        self._images = _padded(self._images, 0, added)
        return added

    def multiply(self, count: int, aside: Aside | None = None) -> None:
        """Multiply the first ``count`` frontier rows; what is left of their images extends F.

        With a frontier set aside, ``F^T gamma F`` is added to the operator.
        """
        before, size = self.multiplied, self.basis.size
        rows = self.basis.rows[before : before + count]
        images = self._op(rows)
        self.products += count
        self.scale = max(self.scale, float(row_norms(images).max()))
        if aside is not None:
            added = _native.block_dots(rows, aside.rows).cpu() @ aside.gamma
            _native.block_update_(images, -added.to(images.device), aside.rows)
            aside.added = torch.cat([aside.added, added])
        inside = self.basis.project_out(images)
        outside = self.basis.extend(images, self.scale)
        self._images = _padded(self._images, count, outside.shape[1])
        self._images[before:, :size] = inside
        self._images[before:, size:] = outside

    def chain(self, aside: Aside) -> Tensor:
        """Projection of the operator, with what is added to it, on the rows multiplied since."""
        first = len(aside.coupling)
        corner = self._images[first:, first : self.multiplied]
        return (corner + corner.T) / 2

    def residuals(self, theta: Tensor, y: Tensor) -> Tensor:
        """Residual norms (l,) of the combinations ``y`` (multiplied, l) as eigenvectors."""
        images = self._images.T @ y
        images[: self.multiplied] -= theta * y
        return images.norm(dim=0)

    def aim(self, y: Tensor, floor: float) -> int:
        """Rotate F so that its first rows carry the residuals of ``y``; returns how many do.

        Args:
            y: (multiplied, l), combinations whose residuals are to fall.
            floor: Parts of a residual below this one need no product.
        """
        if self.frontier <= 1:
            return self.frontier
        directions, sizes, _ = torch.linalg.svd(self.coupling.T @ y)
        self.basis.rotate(self.multiplied, directions.T)
        self._images[:, self.multiplied :] = self.coupling @ directions
        return max(1, int((sizes > floor).sum()))

    def vectors(self, y: Tensor) -> Tensor:
        """The combinations ``y`` (multiplied, l) of X themselves, (l, n)."""
        return combine(y.T, self.basis.rows[: self.multiplied])

    def compress(self, y: Tensor) -> None:
        """Keep the combinations ``y`` (multiplied, l), orthonormal, in the place of X."""
        kept = torch.block_diag(y, torch.eye(self.frontier, dtype=torch.float64))
        self.basis.compress(y.T, keep_last=self.frontier)
        self._images = y.T @ self._images @ kept

    def set_aside(self, gamma: Tensor) -> Aside:
        """Take F off the space, so that other rows orthogonal to X can be multiplied."""
        aside = Aside(self.basis.cut(self.multiplied), self.coupling, gamma, gamma[:0])
        self._images = self._images[:, : self.multiplied].clone()
        return aside

    def cut(self, rows: int) -> None:
        """Forget all but the first ``rows`` of X, and F, none of which they are coupled to."""
        self.basis.cut(rows)
        self._images = self._images[:rows, :rows].clone()

    def take_back(self, aside: Aside) -> None:
        """Put back what :meth:`set_aside` took, orthogonal to what has been added since."""
        first = len(aside.coupling)
        inside = self.basis.project_out(aside.rows)
        outside = self.basis.extend(aside.rows, 1.0)
        self._images = _padded(self._images, 0, outside.shape[1])
        frontier = torch.cat([inside, outside], 1)
        self._images[:first] += aside.coupling @ frontier
        self._images[first:] -= aside.added @ frontier


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    height, width = matrix.shape
    out = torch.zeros(height + rows, width + columns, dtype=matrix.dtype)
    out[:height, :width] = matrix
    return out

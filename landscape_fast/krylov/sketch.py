"""An orthonormal basis of the range of a symmetric operator, grown from Gaussian vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.krylov.basis import NEGLIGIBLE, row_norms
from landscape_fast.krylov.operator import SymmetricOperator


class Sketch:
    """Rows Q that span ``A W`` for Gaussian rows W, and products with them.

    Vector i depends on ``(seed, first + i)`` alone. A product that adds no direction to those
    before it, up to rounding, adds no row: the range of A is spanned.

    Args:
        op: A, symmetric, on vectors of length n.
        seed: Chooses W.
        block: Vectors sent through ``op`` together.

    Attributes:
        rows: Q, (q, n), orthonormal.
        images: ``A Q``, (q, n).
        core: ``Q A Q^T``, (q, q) float64 on the CPU.
        factor: R with ``(A W)^T = Q^T R``, (q, m) float64 on the CPU, upper triangular where no
            product was dropped.
        drawn: m, vectors drawn.
        products: Vectors multiplied.
        complete: Some product added nothing: A vanishes, to rounding, outside the span of Q.
    """

    def __init__(self, op: SymmetricOperator, *, seed: int, block: int) -> None:
        n = op.shape[0]
        self._op, self._seed, self._block = op, seed, block
        self.rows = torch.empty(0, n, dtype=op.dtype, device=op.device)
        self.images = torch.empty_like(self.rows)
        self.core = torch.zeros(0, 0, dtype=torch.float64)
        self.factor = torch.zeros(0, 0, dtype=torch.float64)
        self.drawn, self.products, self.complete = 0, 0, False
        self._scale = 0.0
        self._dropped = 0.0  # largest remainder of a product that added nothing, per length

    @property
    def size(self) -> float:
        """Sum of the magnitudes on the diagonal of the core."""
        return float(self.core.diagonal().abs().sum())

    @property
    def omitted(self) -> float:
        """What the trace outside of a complete span may come to.

        ``|P A w| / |w|`` of a Gaussian w is about ``|P A|_F`` over the root of n, and no trace is
        larger than that norm times the root of n. Of the products dropped the largest counts,
        three times, as one draw may be small by chance.
        """
        return 3 * self._op.shape[0] * self._dropped

    def gaussians(self, first: int, count: int) -> Tensor:
        """Rows ``first`` to ``first + count`` of the vectors drawn, (count, n)."""
        out = torch.empty(count, self._op.shape[0], dtype=self._op.dtype, device=self._op.device)
        return _native.normals_(out, self._seed, first_row=first)

    def apply(self, vectors: Tensor) -> Tensor:
        """``A`` times every row, a block at a time."""
        self.products += len(vectors)
        return torch.cat([self._op(part) for part in vectors.split(self._block)])

    def grow(self, count: int) -> None:
        """Draw ``count`` more vectors and add their products to the span."""
        wanted = self.gaussians(self.drawn, count)
        products = self.apply(wanted)
        norms = row_norms(wanted)
        self._scale = max(self._scale, float((row_norms(products) / norms).max()))
        before, own = len(self.rows), len(self.factor)
        rows = torch.cat([self.rows, torch.empty_like(products)])
        factor = torch.zeros(own + count, self.drawn + count, dtype=torch.float64)
        factor[:own, : self.drawn] = self.factor
        size = before
        allowed = (NEGLIGIBLE * torch.finfo(products.dtype).eps * self._scale * norms).tolist()
        for index in range(count):
            row = products[index : index + 1]
            column = self.drawn + index
            factor[:size, column] = _native.orthogonalise_(row, rows[:size])[0].cpu()
            left = float(row_norms(row))
            if left <= allowed[index]:
                self.complete = True
                self._dropped = max(self._dropped, left / float(norms[index]))
                continue
            factor[size, column] = left
            rows[size].copy_(row[0] / left)
            # Dividing a short remainder magnifies what rounding left of the basis in it.
            _native.orthogonalise_(rows[size : size + 1], rows[:size])
            rows[size].div_(float(row_norms(rows[size : size + 1])))
            size += 1
        self.drawn += count
        self.rows, self.factor = rows[:size], factor[:size]
        self._multiply(before)

    def _multiply(self, before: int) -> None:
        """Products with the rows from ``before`` on, and the core."""
        fresh = self.rows[before:]
        self.images = torch.cat([self.images, self.apply(fresh)]) if len(fresh) else self.images
        core = torch.zeros(len(self.rows), len(self.rows), dtype=torch.float64)
        core[:before, :before] = self.core
        coupling = _native.block_dots(self.images[before:], self.rows).cpu()
        core[before:], core[:, before:] = coupling, coupling.T
        self.core = (core + core.T) / 2


def trace_by_columns(op: SymmetricOperator, block: int) -> tuple[float, float]:
    """The trace from n products with unit vectors, and the sum of the magnitudes it is made of."""
    n, total, size = op.shape[0], 0.0, 0.0
    for first in range(0, n, block):
        count = min(block, n - first)
        units = torch.zeros(count, n, dtype=op.dtype, device=op.device)
        places = torch.arange(count, device=op.device)
        units[places, first + places] = 1
        diagonal = op(units)[places, first + places].double()
        total, size = total + float(diagonal.sum()), size + float(diagonal.abs().sum())
    return total, size

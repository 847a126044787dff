"""Orthonormal rows: random starts, extension with breakdown, rotation and compression."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape_fast import _native


def random_unit_rows(like: Tensor, rows: int, *, seed: int, first: int = 0) -> Tensor:
    """Gaussian rows (rows, n) of norm 1; row i depends on ``(seed, first + i)`` alone."""
    out = torch.empty(rows, like.shape[1], dtype=like.dtype, device=like.device)
    _native.normals_(out, seed, first_row=first)
    return out.div_(row_norms(out).to(out.dtype)[:, None])


def row_norms(block: Tensor) -> Tensor:
    """Euclidean norms (k,) float64 of the rows of ``block`` (k, n)."""
    return _native.row_dots(block, block).sqrt()


def combine(coefficients: Tensor, basis: Tensor) -> Tensor:
    """``coefficients @ basis`` with float64 arithmetic, rounded once: (k, m), (m, n) -> (k, n)."""
    out = torch.zeros(len(coefficients), basis.shape[1], dtype=basis.dtype, device=basis.device)
    _native.block_update_(out, coefficients.to(basis.device).neg().contiguous(), basis)
    return out


# A remainder below this many roundings of the operator's size is noise of the product, not a
# direction of the Krylov space.
NEGLIGIBLE = 32


class Basis:
    """A growing orthonormal basis, one vector per row, in memory that never grows.

    Args:
        capacity: Rows reserved.
        like: Tensor (k, n) whose n, dtype and device the basis takes.
        seed: Chooses the random rows.

    Attributes:
        size: Rows in use.
        peak: Most rows that were ever in use.
    """

    def __init__(self, capacity: int, like: Tensor, *, seed: int) -> None:
        self._rows = torch.empty(capacity, like.shape[1], dtype=like.dtype, device=like.device)
        self._seed = seed
        self._drawn = 0
        self.size = 0
        self.peak = 0

    @property
    def capacity(self) -> int:
        """Rows reserved."""
        return len(self._rows)

    @property
    def rows(self) -> Tensor:
        """The basis, (size, n)."""
        return self._rows[: self.size]

    def project_out(self, block: Tensor) -> Tensor:
        """Remove the basis from ``block`` in place; returns the coefficients (k, size), float64."""
        return _native.orthogonalise_(block, self.rows).cpu()

    def extend(self, block: Tensor, scale: float) -> Tensor:
        """Append orthonormal rows that span ``block`` (p, n), which is orthogonal to the basis.

        A row without a direction of its own (norm below rounding of ``scale``) appends nothing.

        Returns:
            (p, a) float64, the coefficients of the rows of ``block`` in the a <= p appended rows.
        """
        start = self.size
        coefficients = torch.zeros(len(block), len(block), dtype=torch.float64)
        negligible = NEGLIGIBLE * torch.finfo(block.dtype).eps * scale
        for index in range(len(block)):
            row, before = block[index : index + 1], self.size - start
            coefficients[index, :before] = _native.orthogonalise_(row, self.rows[start:]).cpu()
            norm = float(row_norms(row))
            room = self.size < block.shape[1]
            # Dividing a short remainder magnifies what rounding left of the basis in it.
            if norm > negligible and room and self._append_cleaned(row[0] / norm):
                coefficients[index, before] = norm
        return coefficients[:, : self.size - start]

    def draw(self, count: int) -> Tensor:
        """Random rows (count, n) of norm 1, not orthogonal to anything; never the same twice."""
        first, self._drawn = self._drawn, self._drawn + count
        return random_unit_rows(self._rows, count, seed=self._seed, first=first)

    def append_random(self, count: int) -> int:
        """Append random orthonormal rows while the space has room; returns how many."""
        count = min(count, self._rows.shape[1] - self.size)
        for _ in range(count):
            while True:
                row = self.draw(1)
                _native.orthogonalise_(row, self.rows)
                # Of a space nearly full little of a random row is left.
                if self._append_cleaned(row[0] / (float(row_norms(row)) or 1.0)):
                    break
        return count

    def cut(self, size: int) -> Tensor:
        """Shorten the basis to ``size`` rows; returns a copy of those taken off."""
        removed = self._rows[size : self.size].clone()
        self.size = size
        return removed

    def rotate(self, start: int, rotation: Tensor) -> None:
        """Replace the rows from ``start`` on by ``rotation`` (orthogonal) times them."""
        self._rows[start : self.size].copy_(combine(rotation, self._rows[start : self.size]))

    def compress(self, coefficients: Tensor, keep_last: int) -> None:
        """Replace all but the last ``keep_last`` rows by combinations of them, (l, size - last)."""
        head = self.size - keep_last
        kept = combine(coefficients, self._rows[:head])
        last = self.cut(head)
        self.size = len(kept) + len(last)
        self._rows[: len(kept)].copy_(kept)
        self._rows[len(kept) : self.size].copy_(last)

    def _append_cleaned(self, unit: Tensor) -> bool:
        """Append a unit row (n,), orthogonalised once more; False if little of it is left."""
        row = self._rows[self.size : self.size + 1]
        row.copy_(unit)
        _native.orthogonalise_(row, self.rows)
        norm = float(row_norms(row))
        if not norm > 0.5:
            return False
        row.div_(norm)
        self.size += 1
        self.peak = max(self.peak, self.size)
        return True

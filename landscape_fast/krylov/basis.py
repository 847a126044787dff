"""Orthonormal blocks of rows: random starts, extension with breakdown, combination."""

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
        seed: Chooses the random vectors that start the basis and replace lost directions.
    """

    def __init__(self, capacity: int, like: Tensor, *, seed: int) -> None:
        self._rows = torch.empty(capacity, like.shape[1], dtype=like.dtype, device=like.device)
        self._seed = seed
        self._drawn = 0
        self.size = 0

    @property
    def rows(self) -> Tensor:
        """The basis, (size, n)."""
        return self._rows[: self.size]

    def project_out(self, block: Tensor) -> Tensor:
        """Remove the basis from ``block`` in place; returns the coefficients (k, size), float64."""
        return _native.orthogonalise_(block, self.rows).cpu()

    def extend(self, block: Tensor, scale: float) -> Tensor:
        """Append orthonormal rows that span ``block`` (p, n), which is orthogonal to the basis.

        A row without a direction of its own (norm below rounding of ``scale``) is replaced by a
        random vector orthogonal to everything, coupled with zero: the space was invariant, and the
        new direction reaches what the start vectors could not see.

        When the basis fills the whole space, rows beyond its room are combinations of those before.

        Returns:
            (p, a) float64, the coefficients of the rows of ``block`` in the a appended rows.
        """
        start = self.size
        room = min(len(block), block.shape[1] - start)
        coefficients = torch.zeros(len(block), room, dtype=torch.float64)
        negligible = NEGLIGIBLE * torch.finfo(block.dtype).eps * scale
        for index in range(len(block)):
            row, before = block[index : index + 1], self.size - start
            appended = self._rows[start : self.size]
            coefficients[index, :before] = _native.orthogonalise_(row, appended).cpu()
            if before == room:
                continue
            norm = float(row_norms(row))
            if norm > negligible:
                coefficients[index, before] = norm
                self._rows[self.size].copy_(row[0] / norm)
                # Dividing a short remainder magnifies what rounding left of the basis in it.
                self._append_cleaned()
            else:
                self._append_random()
        return coefficients

    def compress(self, coefficients: Tensor, keep_last: int) -> None:
        """Replace all but the last ``keep_last`` rows by combinations of them, (l, size - last)."""
        head = self.size - keep_last
        kept = combine(coefficients, self._rows[:head])
        last = self._rows[head : self.size].clone()
        self.size = len(coefficients) + keep_last
        self._rows[: len(kept)].copy_(kept)
        self._rows[len(kept) : self.size].copy_(last)

    def _append_cleaned(self) -> bool:
        """Append the row after the last, orthogonalised once more; False if little is left."""
        row = self._rows[self.size : self.size + 1]
        _native.orthogonalise_(row, self.rows)
        norm = float(row_norms(row))
        if not norm > 0.5:
            return False
        row.div_(norm)
        self.size += 1
        return True

    def _append_random(self) -> None:
        row = self._rows[self.size : self.size + 1]
        while True:
            row.copy_(random_unit_rows(row, 1, seed=self._seed, first=self._drawn))
            self._drawn += 1
            _native.orthogonalise_(row, self.rows)
            row.div_(float(row_norms(row)) or 1.0)
            if self._append_cleaned():
                return

    def start(self, width: int) -> None:
        """Fill an empty basis with ``width`` random orthonormal rows."""
        for _ in range(width):
            self._append_random()

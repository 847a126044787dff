"""All eigenvalues of a Gauss-Newton matrix, and what was left out of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from landscape_fast.arguments import require_number
from landscape_fast.results.brief import brief


@dataclass(frozen=True, slots=True, kw_only=True)
class GGNSpectrum:
    """Eigenvalues of a Gauss-Newton matrix G: those listed, and zero for the other ``n - r``.

    With ``omitted_trace`` zero they are exact to rounding. Else every eigenvalue of G is at least
    the one listed for it and at most that much larger, all together too.
    """

    values: Tensor  # (r,) float64 on the CPU, descending
    dimension: int  # n
    rank: int  # eigenvalues of magnitude above `rounding`
    rounding: float  # an eigenvalue this close to zero cannot be told from zero
    trace: float  # of G, nothing left out
    omitted_trace: float  # of the rows that were left out, with what rounding may hide of it
    rows: int  # directions of output curvature, over all samples, that were used
    all_rows: int  # that there are
    samples: int
    vectors: Tensor | None = None  # (k, n) unit eigenvectors of the first k, if asked for

    __repr__ = brief

    def effective_rank(self, damping: float) -> tuple[float, float]:
        """Bounds on the sum of ``x / (x + damping)`` over the eigenvalues; equal if all is known.

        References:
            MacKay (1992), effective number of parameters, doi:10.1162/neco.1992.4.3.415.
        """
        self._require(damping)
        value = float((self.values / (self.values + damping)).sum())
        return value, min(value + self.omitted_trace / damping, float(self.dimension))

    def logdet(self, damping: float) -> tuple[float, float]:
        """Bounds on ``log det(G + damping I)``; equal if all is known."""
        self._require(damping)
        rest = self.dimension - len(self.values)
        value = float((self.values + damping).log().sum()) + rest * math.log(damping)
        return value, value + self.omitted_trace / damping

    def _require(self, damping: float) -> None:
        require_number(damping=damping)
        lowest = min(0.0, float(self.values.min())) if len(self.values) else 0.0
        if not damping > -lowest:
            raise ValueError(
                f"damping must exceed 0 and minus the smallest eigenvalue, {-lowest:.3g}, "
                f"got {damping}"
            )

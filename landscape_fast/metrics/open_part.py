"""What a Gauss-Newton diagonal leaves open of a trace, as draws."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from landscape_fast.krylov.allocation import Part
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal
from landscape_fast.metrics.probes import Probes
from landscape_fast.metrics.row_probes import RowProbes


class OpenPart:
    """Draws of tr(H - G) where G is known, else of the whole matrix.

    Rows are chosen by slope where they lie in memory and only the trace is wanted. Where a tracer
    stops, and for single parameters, sign vectors go through whole matrices.

    Args:
        model: The module.
        known: The Gauss-Newton part.
        gauss_newton: Whether G is wanted, not H.
        per_layer: Whether the parts of all parameters are wanted.
        loss: The loss.
        memory_budget: Of operators.
        precision: Of products.
        seed: Chooses probes.

    Attributes:
        names: Parameters whose block is estimated.
        parts: One part, or none.
        precision: Of its products; None without them.
    """

    def __init__(
        self,
        model: nn.Module,
        known: GaussNewtonDiagonal,
        gauss_newton: bool,
        per_layer: bool,
        loss: dict[str, Any],
        memory_budget: int | None,
        precision: Precision,
        seed: int,
    ) -> None:
        names = known.space.names
        settled = () if known.note else names if gauss_newton else known.exact
        self.names = tuple(name for name in names if name not in set(settled))
        self.parts: list[Part] = []
        self.precision: str | None = None
        if not self.names:
            return
        rows = None
        if known.table is not None and not per_layer and not known.note:
            rows = _row_probes(model, known, self.names, loss, precision)
        if rows is not None:
            self.parts.append(Part(lambda first, count: rows.draw(first, count, seed), rows.price))
            self.precision = rows.precision
            return
        probes = Probes(
            model, known, gauss_newton, **loss, memory_budget=memory_budget, precision=precision
        )

        def draw(first: int, count: int) -> Tensor:
            if per_layer:
                return known.by_parameter(probes.entries(first, count, seed))
            return probes.forms(first, count, seed)[:, None]

        self.parts.append(Part(draw, probes.price))
        self.precision = probes.precision


def _row_probes(
    model: nn.Module,
    known: GaussNewtonDiagonal,
    names: tuple[str, ...],
    loss: dict[str, Any],
    precision: Precision,
) -> RowProbes | None:
    assert known.table is not None
    try:
        return RowProbes(
            model,
            Objective(**loss),
            names,
            known.table,
            known.layout,
            known.normaliser,
            precision=precision,
        )
    except Exception:
        # A tracer may stop at anything a model does. Products with whole matrices need none of its
        # limits, and raise themselves what is the caller's to mend.
        return None

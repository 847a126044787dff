"""What a Gauss-Newton diagonal leaves open of a trace, as draws."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from landscape_fast.krylov.allocation import Part
from landscape_fast.linearise.engines import attempted
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal
from landscape_fast.metrics.probes import Probes
from landscape_fast.metrics.row_probes import RowProbes

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class OpenPart:
    """Draws of tr(H - G) where G is known, else of the whole matrix.

    Rows are chosen by slope where they lie in memory and only the trace is wanted. Where a tracer
    stops, and for single parameters, sign vectors go through whole matrices; where unit vectors are
    fewer than the draws it would take, these.

    Args:
        model: The module.
        known: The Gauss-Newton part.
        gauss_newton: Whether G is wanted, not H.
        per_layer: Whether the parts of all parameters are wanted.
        loss: The loss.
        memory_budget: Of operators.
        precision: Of products.
        seed: Chooses probes.
        process_group: Processes that share the data; rows are then not chosen.

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
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.names = known.open_names(gauss_newton)
        self.parts: list[Part] = []
        self.precision: str | None = None
        if not self.names:
            return

        @cache
        def probes() -> Probes:
            return Probes(
                model,
                known,
                self.names,
                gauss_newton,
                **loss,
                memory_budget=memory_budget,
                precision=precision,
                process_group=process_group,
            )

        def exact() -> Tensor:
            entries = probes().exact()
            return known.by_parameter(entries) if per_layer else entries.sum()[None]

        def draw(first: int, count: int) -> Tensor:
            if per_layer:
                return known.by_parameter(probes().entries(first, count, seed))
            return probes().forms(first, count, seed)[:, None]

        rows = None
        if known.table is not None and not (per_layer or known.note or known.shared):
            rows = _row_probes(model, known, self.names, loss, precision)
        if rows is not None:
            terms, self.precision = 2, rows.precision
            whole, larger = _part(rows, seed), rows.larger()
        else:
            terms, self.precision = probes().price, probes().precision
            whole, larger = Part(draw, terms), None
        sizes = dict(zip(known.space.names, known.space.shapes, strict=True))
        size = sum(sizes[name].numel() for name in self.names)
        summed: dict[str, Any] = {"exact": exact, "exact_price": terms * size}
        if larger is not None:
            summed["larger"] = replace(_part(larger, seed), **summed)
        self.parts.append(replace(whole, **summed))


def _part(rows: RowProbes, seed: int) -> Part:
    return Part(lambda first, count: rows.draw(first, count, seed), rows.price)


def _row_probes(
    model: nn.Module,
    known: GaussNewtonDiagonal,
    names: tuple[str, ...],
    loss: dict[str, Any],
    precision: Precision,
) -> RowProbes | None:
    found: list[RowProbes] = []

    def build() -> None:
        assert known.table is not None
        found.append(
            RowProbes(
                model,
                Objective(**loss),
                names,
                known.table,
                known.layout,
                known.normaliser,
                precision=precision,
            )
        )

    # Products with whole matrices need none of a tracer's limits where it stops.
    attempted(build)
    return found[0] if found else None

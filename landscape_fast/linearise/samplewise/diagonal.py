"""The diagonal of a Gauss-Newton matrix from squared per-sample gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast.linearise.samplewise.factors import Factors, grouped
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.samplewise.sampling import largest
from landscape_fast.linearise.samplewise.table import Table

PASS_ELEMENTS = 2**19  # of the largest value of one cotangent of all rows of a pass
WIDEST_ELEMENTS = 2**22  # of the largest block of cotangents
FEWEST_ROWS = 8  # of a pass


@dataclass(frozen=True, slots=True)
class Summed:
    """What a sum over directions took."""

    whole: float  # trace of the output curvature, in absolute values
    left: float  # what of it was left out
    cotangents: int  # rows of S^T J that were formed, over all samples


@dataclass(frozen=True, slots=True)
class Pass:
    """What goes through the network together."""

    rows: int
    cotangents: int  # of each row, at most


class Directions:
    """The directions of the output curvature of all rows of a table, and sums over some of them.

    Args:
        network: Gives per-sample gradients.
        table: The rows.

    Attributes:
        curvature: (N, R) float64, of either sign: weight of each direction of each row.
    """

    def __init__(self, network: SampledNetwork, table: Table) -> None:
        self._network = network
        self._table = table
        self._factors = Factors.joined([network.factors(batch) for batch in table.batches])
        self.curvature = self._factors.values.flatten(1)

    def whole_pass(self, most: int) -> Pass:
        """What goes through the network together where all directions of ``most`` rows do."""
        if not self._network.fast:
            return Pass(min(FEWEST_ROWS, most), 1)
        per_row = self._network.row_elements(
            self._table.take(torch.arange(min(2, self._table.rows)))
        )
        rows = min(max(FEWEST_ROWS, PASS_ELEMENTS // per_row), most)
        return Pass(rows, max(1, WIDEST_ELEMENTS // (rows * per_row)))

    def add_taken(self, taken: Tensor, into: Sequence[Tensor], size: Pass) -> int:
        """Add the squares of directions chosen by a mask like ``curvature``; their number."""
        places = taken.flatten().nonzero()[:, 0]
        if len(places):
            self.add(places, None, into, size)
        return len(places)

    def add(
        self, places: Tensor, weights: Tensor | None, into: Sequence[Tensor], size: Pass
    ) -> None:
        """Add weighted squares ``(J^T s)^2`` with the signs of their curvature.

        Args:
            places: (M,) of the directions in the flattened ``curvature``, in ascending order.
            weights: (M,) not negative; None for ones.
            into: By parameter, in its shape, float64.
            size: Of a pass.
        """
        signs = self.curvature.flatten()[places].sign()
        weights = torch.ones_like(signs) if weights is None else weights.to(signs)
        for sign in (1.0, -1.0):
            chosen = signs == sign
            if not chosen.any():
                continue
            parts = into if sign > 0 else [torch.zeros_like(part) for part in into]
            self._add(places[chosen], weights[chosen], parts, size)
            if sign < 0:
                for part, negative in zip(into, parts, strict=True):
                    part.sub_(negative)

    def _add(self, places: Tensor, weights: Tensor, into: Sequence[Tensor], size: Pass) -> None:
        """Rows with like numbers of directions share a pass."""
        rank = self.curvature.shape[1]
        rows, counts = (places // rank).unique_consecutive(return_counts=True)
        line = torch.arange(len(rows), device=rows.device).repeat_interleave(counts)
        place = torch.arange(len(places), device=rows.device)
        place = place - (counts.cumsum(0) - counts)[line]
        columns = rows.new_zeros(len(rows), int(counts.max()))
        columns[line, place] = places % rank
        # A row with fewer directions than others of its pass has weights of zero in the end.
        scales = weights.new_zeros(columns.shape)
        scales[line, place] = weights.sqrt()
        order = counts.argsort(descending=True, stable=True)
        rows, counts, columns, scales = (v[order] for v in (rows, counts, columns, scales))
        if self._network.fast:
            self._add_together(rows, counts, columns, scales, into, size)
        if len(self._network.fast) < len(into):
            for index, count in enumerate(counts.tolist()):
                one, part = slice(index, index + 1), slice(0, count)
                block = self._factors.directions(rows[one], columns[one, part])
                block = block * scales[one, part].T[:, :, None]
                alone = self._table.take(rows[one])
                shape = self._network.output_shape(alone)
                flat = torch.empty_like(block[:, 0])
                flat[:, self._places(shape, 1).to(block.device)] = block[:, 0]
                self._network.add_row(alone, flat, into)

    def _add_together(
        self,
        rows: Tensor,
        counts: Tensor,
        columns: Tensor,
        scales: Tensor,
        into: Sequence[Tensor],
        size: Pass,
    ) -> None:
        shape = self._network.output_shape(self._table.take(rows[:1].expand(size.rows)))
        order = self._places(shape, size.rows).to(rows.device)
        for start in range(0, len(rows), size.rows):
            piece = slice(start, start + size.rows)
            missing = size.rows - len(rows[piece])
            # The last piece is filled up with rows that have no direction, for the same program.
            full = torch.cat([rows[piece], rows[:1].expand(missing)])
            batch = self._table.take(full)
            widest = int(counts[piece].max())
            for first in range(0, widest, size.cotangents):
                part = slice(first, min(first + size.cotangents, widest))
                block = self._factors.directions(rows[piece], columns[piece, part])
                block = block * scales[piece, part].T[:, :, None]
                block = torch.nn.functional.pad(block, (0, 0, 0, missing))
                flat = torch.empty_like(block.flatten(1))
                flat[:, order] = block.flatten(1)
                self._network.add_squares(batch, flat.reshape(-1, *shape), into)

    def _places(self, shape: torch.Size, rows: int) -> Tensor:
        return grouped(shape, self._network.layout, rows, self._factors.dim).reshape(-1)


def add_tables(
    network_of: Callable[[Table], SampledNetwork],
    found: Iterable[Table],
    share: float,
    into: Sequence[Tensor],
) -> Summed:
    """Add ``(J^T s)^2`` of all rows of tables that come and go, and state what was left out.

    Args:
        network_of: Gives per-sample gradients of the rows of a table.
        found: The rows, each table read once.
        share: Directions of the output curvature whose eigenvalues sum to at most this share of
            the trace of a table's are left out, the smallest first.
        into: By parameter, in its shape, float64.
    """
    whole, left, cotangents = 0.0, 0.0, 0
    for table in found:
        directions = Directions(network_of(table), table)
        sizes = directions.curvature.abs()
        taken = largest(sizes, share)
        whole, left = whole + float(sizes.sum()), left + float(sizes[~taken].sum())
        cotangents += directions.add_taken(taken, into, directions.whole_pass(table.rows))
    return Summed(whole, left, cotangents)

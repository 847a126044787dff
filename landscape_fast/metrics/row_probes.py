"""Random estimates of the trace of R = H - G from rows chosen by their slope."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

import torch
from torch import Tensor, nn

from landscape_fast import _native
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.remainder import Remainder
from landscape_fast.linearise.rules.precision import Precision, products_in
from landscape_fast.linearise.samplewise.layouts import Layout
from landscape_fast.linearise.samplewise.sampling import systematic
from landscape_fast.linearise.samplewise.table import Table
from landscape_fast.linearise.state import evaluation, measurable

ROWS = 16  # of one draw
VECTORS = 4  # of one draw: they share the adjoints of its rows
# Of a large draw. On small networks one takes hardly longer than one of a few rows, and where it
# sees all rows nothing is left to chance but the signs.
MOST_ROWS = 128
MOST_ELEMENTS = 2**27  # of all values and tangents of a large draw together


class RowProbes:
    """Draws of tr R: a few rows in proportion to their slope, sign vectors of their own.

    A draw is ``v^T R_n v`` summed over its rows with one over their probability as weights, and
    averaged over its vectors. Small sets of rows with fresh signs let the noise of the signs
    average out between draws, which is right since the loss is a sum over rows.

    Args:
        model: The module.
        objective: The loss.
        names: Parameters of the block.
        table: The data.
        layout: Of the rows in the network's outputs.
        normaliser: What the sum over rows is divided by.
        precision: Of the products.

    Attributes:
        precision: Of the products.

    Raises:
        Exception: As :class:`~landscape_fast.linearise.remainder.Remainder`.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        names: Iterable[str],
        table: Table,
        layout: Layout,
        normaliser: float,
        *,
        precision: Precision,
    ) -> None:
        self._model = measurable(model)
        self._table = table
        self._normaliser = normaliser
        self._precision = precision
        self._space = ParameterSpace(self._model, list(names))
        with evaluation(self._model):
            self._remainder = Remainder(
                self._model, objective, self._space, layout, table.batches[0]
            )
            slopes = torch.cat([self._remainder.slopes(batch) for batch in table.batches])
        self._rows = slopes.nonzero()[:, 0]
        self._slopes = slopes[self._rows]
        self._count = min(ROWS, table.rows)
        self.precision = precision if self._space.dtype == torch.float32 else "float64"

    @property
    def price(self) -> float:
        """Of a draw, in products with H over all the data."""
        return self._count * (1 + VECTORS) / (2 * self._table.rows)

    def larger(self) -> RowProbes | None:
        """The same with more rows in a draw, where they fit into memory."""
        of_a_row = self._remainder.elements_per_row * (1 + VECTORS)
        count = min(MOST_ROWS, self._table.rows, MOST_ELEMENTS // of_a_row)
        if count < 2 * self._count:
            return None
        other = copy(self)
        other._count = count
        return other

    def draw(self, first: int, count: int, seed: int) -> Tensor:
        """Draws ``first`` to ``first + count - 1``: (count, 1) float64 on the CPU."""
        if not len(self._rows):
            return torch.zeros(count, 1, dtype=torch.float64)
        with evaluation(self._model), products_in(self._precision):
            return torch.stack([self._drawn(first + index, seed) for index in range(count)])[
                :, None
            ]

    def _drawn(self, index: int, seed: int) -> Tensor:
        # The starts of the groups of rows must not be those of the Gauss-Newton part.
        places, weights = systematic(self._slopes, self._count, seed=~seed, index=index)
        missing = self._count - len(places)
        places = torch.cat([places, places[:1].expand(missing)])
        weights = torch.nn.functional.pad(weights, (0, missing))
        signs = torch.empty(
            VECTORS, self._space.size, dtype=self._space.dtype, device=self._space.device
        )
        _native.signs_(signs, seed, first_row=index * VECTORS)
        batch = self._table.take(self._rows[places])
        forms = self._remainder.forms(batch, weights, self._space.split(signs))
        return forms.mean().cpu() / self._normaliser

"""The Gauss-Newton diagonal of a dataset-level loss, all of it or a part and draws for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.engines import attempted
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.processes import Processes
from landscape_fast.linearise.samplewise.diagonal import Directions, Pass, add_tables
from landscape_fast.linearise.samplewise.layouts import PLAIN
from landscape_fast.linearise.samplewise.networks import SampledNetworks
from landscape_fast.linearise.samplewise.sampling import largest, split, systematic
from landscape_fast.linearise.samplewise.table import Table, tables
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.linearise.structure import rows

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

POOL_BYTES = 2**28  # of batches whose rows are sorted together, where they are read anew
GROUP = 8  # draws of one pass
DRAWN = 4  # cotangents of each row of such a pass, at most
# As many times more rows fill a pass where the operations of a small one are mostly overhead; and
# passes that are worth a program of their own.
SMALL, WORTH = 8, 4
CORRECTIONS = 8  # groups of draws for what an exact sum leaves out
UNSEEN = 1e-7  # share that may be left out where nothing can be drawn


class GaussNewtonDiagonal:
    r"""Diagonal of :math:`G = \frac{1}{N} \sum_n J_n^\top A_n J_n`, without probes.

    With :math:`A_n = S S^\top` it is the mean over samples of :math:`\sum_c (J_n^\top s_c)^2`. The
    directions s of largest curvature are all taken. The others are drawn, see
    :mod:`~landscape_fast.linearise.samplewise.sampling`: a fixed number of groups if they are at
    most ``rtol_omitted`` of all curvature, else as many as the caller asks for.

    Args:
        model: Any module; left untouched.
        loader: Iterable of batches; read once and kept within ``memory_budget``.
        criterion: As for :class:`~landscape_fast.linearise.operators.HessianOperator`.
        loss_fn: Likewise.
        params: Likewise.
        memory_budget: Likewise.
        rtol_omitted: Share of the trace of the output curvature that may be left to draws.
        rtol: Standard error of the trace that the caller wants, relative; 0 for a sum over all.
        seed: Chooses the draws for what is omitted.
        process_group: Processes that share the data; the answer is that of one process.

    Attributes:
        space: The selected parameters.
        values: (n,) float64, sum over the certain directions; zeros where ``note`` says why.
        correction: (n,) float64, estimate of what was omitted; zeros if ``sampled``.
        variance: (n,) float64, of ``correction``.
        corrections: (r, p) float64, by parameter: the single draws whose mean is ``correction``;
            r is 0 if there are none.
        normaliser: What sums over rows are divided by.
        exact: Names of parameters in which the outputs are piecewise linear: there the diagonal is
            the Hessian's too.
        omitted: Share of the output curvature that no certain direction holds.
        unseen: Share that nothing stands for at all.
        sampled: Whether the caller must add draws of :meth:`rest`.
        cotangents: That went through the network so far, over all rows.
        group: Cotangents of one draw.
        large_group: Of a large draw, worth it where many are wanted; ``group`` if none is.
        samples: Rows of the data.
        note: Why the diagonal cannot be had; None if it can.
        loader: The data, for others to read.
        table: The rows by number, if they are all of one kind and in memory; else None.
        layout: Of the rows in the network's outputs.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        *,
        criterion: Criterion | None,
        loss_fn: LossFunction | None,
        params: Selection,
        memory_budget: int | None,
        rtol_omitted: float,
        rtol: float = 0.0,
        seed: int = 0,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self._processes = Processes(process_group)
        self._objective = Objective(criterion, loss_fn)
        self._seed = seed
        with self._processes.together():
            require_number(least=0, below=1, rtol_omitted=rtol_omitted)
            require_seed(seed)
            self._model = measurable(model)
            self.space = ParameterSpace(self._model, params)
        self._processes.require_same(
            [*self.space.tensors, *self._model.parameters(), *self._model.buffers()],
            "parameters or buffers of model",
        )
        # Programs are shared: whoever captures one first, it must have second derivatives.
        with evaluation(self._model), twice_differentiable(self._model):
            with self._processes.together():
                batches = Batches(loader, device=self.space.device, memory_budget=memory_budget)
            (self._first,) = self._processes.before(batches.samples)
            self.samples = int(self._processes.sums(batches.samples)[0])
            self.loader: Iterable[Any] = list(batches) if batches.resident else loader
            self.values = torch.zeros(self.space.size, dtype=torch.float64)
            self.correction = torch.zeros_like(self.values)
            self.variance = torch.zeros_like(self.values)
            self.corrections = torch.zeros(0, len(self.space.names), dtype=torch.float64)
            self.normaliser = 1.0
            self.exact: tuple[str, ...] = ()
            self.omitted = self.unseen = 0.0
            self.cotangents, self.group, self.large_group = 0, 1, 1
            self.sampled = False
            self.table: Table | None = None
            self.layout = PLAIN
            self.note = attempted(lambda: self._measure(batches, rtol_omitted, rtol))

    @property
    def shared(self) -> bool:
        """Whether other processes hold a part of the data."""
        return self._processes.size > 1

    def _measure(self, batches: Batches, share: float, rtol: float) -> None:
        kinds: list[Table] = []
        directions: Directions | None = None
        networks = SampledNetworks(self._model, self._objective, self.space)
        with self._processes.together():
            kinds = list(tables(batches, None)) if batches.resident else []
            first = next(iter(batches))
            network = networks.of(kinds[0] if rows(first) == 1 and kinds else Table([first]))
            counts = sum(map(self._count, batches))
            if len(kinds) == 1:
                directions = Directions(network, kinds[0])
        self.layout = network.layout
        rank = 0 if directions is None else directions.curvature.shape[1]
        counts, one_kind, ranks, squares = self._processes.sums(
            counts, directions is not None, rank, rank * rank
        )
        if not counts > 0:
            raise ValueError(f"the loss divides by {counts}")
        self.normaliser = self._objective.normaliser(counts)
        total = self._zeros()
        size = self._processes.size
        # Ranks that are equal in all processes, too.
        if directions is not None and one_kind == size and squares * size == ranks * ranks:
            self.table = kinds[0]
            self._take(directions, total, share, rtol)
        else:
            with self._processes.together():
                found = kinds or tables(batches, POOL_BYTES)
                summed = add_tables(networks.of, found, min(share, UNSEEN), total)
            left, whole, took = self._processes.sums(summed.left, summed.whole, summed.cotangents)
            self.omitted = self.unseen = left / whole if whole > 0 else 0.0
            self.cotangents += int(took)
        self.values += self._flat(total)
        if not torch.isfinite(self.values).all():
            raise FloatingPointError("the squares are not finite")
        self.exact = tuple(self.space.names[index] for index in network.exact)

    def _count(self, batch: Any) -> float:
        count = self._objective.count_of_targets(batch)
        if count is None:
            with torch.no_grad():
                _, count = self._objective(self._model, batch)
        return count

    def _take(self, directions: Directions, total: list[Tensor], share: float, rtol: float) -> None:
        """Rows that all lie together: what is not taken can be drawn.

        Every process knows the curvature of all rows, and decides alike; each adds its own rows.
        """
        sizes = self._processes.joined(directions.curvature.abs(), self._first, self.samples)
        self.group = min(GROUP, len(sizes))
        taken, self.sampled = split(sizes, rtol, self.group)
        if not self.sampled:
            taken = largest(sizes, share)
            if int((~taken & (sizes > 0)).sum()) <= CORRECTIONS * self.group:
                taken = sizes > 0  # drawing is not less work
        self._rank = sizes.shape[1]
        self._own = slice(self._first, self._first + len(directions.curvature))
        with self._processes.together():
            # Draws need no program but that of their own passes, and the certain rows share it.
            drawn, self._large = Pass(self.group, DRAWN), directions.whole_pass(self.samples)
            self._size = drawn if self.sampled else self._large
            small = self._large.rows >= SMALL * self.group
            self.large_group = self._large.rows if small or not self.sampled else self.group
            many = small and int(taken.sum()) >= WORTH * self._large.rows
            took = directions.add_taken(
                taken[self._own], total, self._large if many else self._size
            )
        self.cotangents += int(self._processes.sums(took)[0])
        whole = float(sizes.sum())
        left = sizes.masked_fill(taken, 0).flatten()
        self.omitted = float(left.sum()) / whole if whole > 0 else 0.0
        self._directions = directions
        self._places = left.nonzero()[:, 0]
        self._sizes = left[self._places]
        if len(self._places) and not self.sampled:
            self.group = self.large_group
            self._correct()

    def _correct(self) -> None:
        """Estimate what was omitted as the mean of a few groups."""
        sums, squares = torch.zeros_like(self.values), torch.zeros_like(self.values)
        corrections = []
        for index in range(CORRECTIONS):
            row = self.rest(index, self._seed)
            corrections.append(self.by_parameter(row))
            change = row - sums  # Welford's update
            sums += change / (index + 1)
            squares += change * (row - sums)
        self.correction = sums
        self.variance = squares / ((CORRECTIONS - 1) * CORRECTIONS)
        self.corrections = torch.stack(corrections)

    def open_names(self, gauss_newton: bool) -> tuple[str, ...]:
        """Parameters whose diagonal, of the Hessian or of G, this one is not."""
        settled = () if self.note else self.space.names if gauss_newton else self.exact
        return tuple(name for name in self.space.names if name not in set(settled))

    def rest(self, index: int, seed: int, *, large: bool = False) -> Tensor:
        """An unbiased estimate (n,) of what ``values`` lacks, from draws of group ``index``.

        Groups of one kind are independent; each goes through the network as one pass.
        """
        total = self._zeros()
        count, size = (self.large_group, self._large) if large else (self.group, self._size)
        places, weights = systematic(self._sizes, count, seed=seed, index=index)
        places = self._places[places]
        rows = places // self._rank
        here = (rows >= self._own.start) & (rows < self._own.stop)
        evaluated = evaluation(self._model), twice_differentiable(self._model)
        with self._processes.together(), evaluated[0], evaluated[1]:
            if here.any():
                places_here = places[here] - self._own.start * self._rank
                self._directions.add(places_here, weights[here], total, size)
        self.cotangents += len(places)
        return self._flat(total)

    def _zeros(self) -> list[Tensor]:
        return [
            torch.zeros(shape, dtype=torch.float64, device=self.space.device)
            for shape in self.space.shapes
        ]

    def _flat(self, total: list[Tensor]) -> Tensor:
        """Sums of all processes as a vector (n,) of the mean loss, on the CPU."""
        flat = torch.cat([part.reshape(-1) for part in total])
        return self._processes.sum_(flat).cpu() / self.normaliser

    def by_parameter(self, vector: Tensor) -> Tensor:
        """Sums of a vector (n,), or of each row of a block, over each parameter: (..., p)."""
        sizes = [shape.numel() for shape in self.space.shapes]
        return torch.stack([part.sum(-1) for part in vector.split(sizes, dim=-1)], dim=-1)

"""The loss of the whole data at many points of parameter space."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.agreement import spread_rows
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.capture import LossInputs, capture_value
from landscape_fast.linearise.cuts import cut
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.sharing import kind_of
from landscape_fast.linearise.structure import rows, tensors
from landscape_fast.metrics.batchnorm import recalibrate
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.surfaces.program import PointProgram

# Elements of the largest value of a piece: of one core, so that a pass stays in cache, and of a
# device, so that it stays in memory.
CACHED_ELEMENTS = 2**19
ELEMENTS_ON_DEVICE = 2**28
FEWEST_ROWS = 16
PROGRAMS = 8  # shapes of pieces that are worth a program each
AGREEMENT = 1e-6  # in float64, relative


class LossAt:
    """Loss at points of the parameter space of a model in evaluation mode.

    Args:
        model: In evaluation mode; not changed.
        space: Its parameters that points are of.
        batches: The data.
        objective: The loss.
        far: (n,), a point away from the model, where a program is held to it as well.
        recalibrated: Whether running statistics are measured anew at every point.

    Attributes:
        loss: Where the model is.
        origin: (n,), where that is.
        note: Why the plain model runs at every point; None where a program does.
    """

    def __init__(
        self,
        model: nn.Module,
        space: ParameterSpace,
        batches: Batches,
        objective: Objective,
        *,
        far: Tensor,
        recalibrated: bool,
    ) -> None:
        self.space = space
        self.origin = space.flatten([tensor.detach() for tensor in space.tensors])
        self.note: str | None = None
        self._batches, self._objective = batches, objective
        self._recalibrated = recalibrated
        self._inputs = LossInputs(model, self.space)
        self._placed = PlacedNetwork(model, space.names)
        self._plain = self._placed.model
        self._programs: dict[Hashable, PointProgram] = {}
        self._counts = 0.0
        self._rows: int | None = None  # of a piece; None for whole batches
        self._placed.require_moved_by(objective, next(iter(batches)))
        self.loss = self._first_pass()
        self._examine(far)

    def __call__(self, points: Tensor) -> list[float]:
        """Loss at each of ``points`` (k, n)."""
        if self.note is None:
            sums = self._by_program(points)
        else:
            sums = [self._by_model(point) for point in points]
        return [value / self._objective.normaliser(self._counts) for value in sums]

    def _first_pass(self) -> float:
        """The loss where the model is, by the model itself; counts what it divides by."""
        total = 0.0
        if self._recalibrated:
            recalibrate(self._plain, self._batches, self._objective)
            self._plain.eval()
        for batch in self._batches:
            value, count = self._objective(self._plain, batch)
            total, self._counts = total + float(value), self._counts + count
        if not self._counts > 0:
            raise ValueError(
                f"the loader holds no valid target: the loss divides by {self._counts}"
            )
        return total / self._objective.normaliser(self._counts)

    def _by_model(self, point: Tensor) -> float:
        """Summed loss of the model itself, moved to ``point`` (n,)."""
        self._placed.place(point)
        if self._recalibrated:
            recalibrate(self._plain, self._batches, self._objective)
            self._plain.eval()
        return sum(float(self._objective(self._plain, batch)[0]) for batch in self._batches)

    def _by_program(self, points: Tensor) -> list[float]:
        sums = [0.0] * len(points)
        rest = self._inputs.gather(())[len(self.space.names) :]
        moved = self.space.split(points)
        values = [[*(part[index] for part in moved), *rest] for index in range(len(points))]
        ready: dict[int, list[list[Tensor | None]]] = {}
        for piece in self._pieces():
            program = self._program(piece)
            if id(program) not in ready:
                ready[id(program)] = [program.prepare(point) for point in values]
            leaves = [program.laid(leaf) for leaf in tensors(piece)]
            found = program(ready[id(program)], leaves)
            sums = [total + value for total, value in zip(sums, found, strict=True)]
        return sums

    def _pieces(self) -> Iterator[Any]:
        for batch in self._batches:
            count = rows(batch)
            if self._rows is None or count is None:
                yield batch
                continue
            number = -(-count // self._rows)
            edges = [count * index // number for index in range(number + 1)]
            for begin, end in pairwise(edges):
                yield cut(batch, slice(begin, end))

    def _program(self, piece: Any, dtype: torch.dtype | None = None) -> PointProgram:
        key = (kind_of(piece), dtype)
        if key not in self._programs:
            count = len(self.space.names)
            traced = capture_value(self._inputs, self._objective, piece, count, dtype)
            self._programs[key] = PointProgram(
                traced,
                len(self._inputs.names),
                channels_last=self.space.device.type == "cpu",
            )
        return self._programs[key]

    def _examine(self, far: Tensor) -> None:
        """Decide between program and model, and how the data are cut."""
        if self._recalibrated:
            self.note = "running statistics are measured anew at every point"
            return
        few = spread_rows(next(iter(self._batches)))
        try:
            self.note = self._disagreement(few, far)
            size = self._program(few, torch.float64).largest // (rows(few) or 1)
        except Exception as error:  # whatever the tracer raises on what it cannot follow
            self.note = f"not captured: {type(error).__name__}: {str(error).splitlines()[0]}"
        if self.note is not None or not self._objective.sums_rows or self._couples(few):
            return
        on_host = self.space.device.type == "cpu"
        cached = CACHED_ELEMENTS * torch.get_num_threads()
        elements = cached if on_host else ELEMENTS_ON_DEVICE
        self._rows = max(FEWEST_ROWS, elements // max(1, size))
        shapes = {kind_of(piece) for piece in self._pieces()}
        if len(shapes) > PROGRAMS:
            self.note = f"the data come in {len(shapes)} shapes"

    def _disagreement(self, few: Any, far: Tensor) -> str | None:
        """Hold the program to the model in float64, where the model is and at a far point."""
        program = self._program(few, torch.float64)
        count = len(self.space.names)
        for point in (self.origin, far):
            moved = [part[0].to(torch.float64) for part in self.space.split(point[None])]
            values = [*moved, *self._inputs.gather(few, torch.float64)[count:]]
            own, leaves = values[: len(self._inputs.names)], values[len(self._inputs.names) :]
            exact = float(self._inputs.call(self._objective, few, values))
            (found,) = program([program.prepare(own)], [program.laid(leaf) for leaf in leaves])
            if not math.isclose(found, exact, rel_tol=AGREEMENT) and math.isfinite(exact):
                return f"the captured loss is {found:.9g} where the model's is {exact:.9g}"
        return None

    def _couples(self, few: Any) -> bool:
        """Whether the loss of some rows depends on the rows beside them."""
        count = rows(few) or 1
        pieces = [few, *(cut(few, part) for part in (slice(0, 1), slice(1, None)) if count > 1)]
        try:
            whole, *parts = (
                float(
                    self._inputs.call(self._objective, one, self._inputs.gather(one, torch.float64))
                )
                for one in pieces
            )
        except (RuntimeError, ValueError):  # a layer that needs several rows
            return True
        return count < 2 or not math.isclose(sum(parts), whole, rel_tol=AGREEMENT)

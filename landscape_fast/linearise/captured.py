"""Products with the second derivative of a batch loss by walking its captured program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.agreement import (
    SEPARATE,
    derivative_error,
    form_error,
    relative_error,
    spread_rows,
    worst,
)
from landscape_fast.linearise.capture import LossInputs
from landscape_fast.linearise.cuts import (
    VALUES,
    cut,
    parts,
    rows_at_once,
    vectors_at_once,
)
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.program import Program
from landscape_fast.linearise.programs import Form, Kind, Programs
from landscape_fast.linearise.quadratic import TailProgram, quadratic_forms
from landscape_fast.linearise.replay import Passes
from landscape_fast.linearise.residency import Prepared, Residency
from landscape_fast.linearise.second_derivative import (
    Tangents,
    double_backward,
    gauss_newton,
    twice_differentiable,
)
from landscape_fast.linearise.structure import rows, tensors

WHOLE = 2**62  # rows of a pass that takes a batch as it is


class CapturedEngine:
    """One captured program per batch shape, walked with blocks of tangents."""

    name = "captured"

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        space: ParameterSpace,
        values_budget: int | None = None,
        form: Form = "hessian",
    ) -> None:
        self._model = model
        self._objective = objective
        self._parameters = len(space.tensors)
        self._inputs = LossInputs(model, space)
        self._programs = Programs(model, objective, self._inputs, self._parameters, form)
        self._separable = False
        self._row_elements = 1  # of the largest value that depends on the data
        self._form_elements = 1  # of the same, and of a share of all of them
        self._residency = Residency(model, space.device, values_budget)
        self._passes = Passes(space.device)
        self._most_vectors: int | None = None  # once a device has run out of memory

    @property
    def slow_operations(self) -> tuple[str, ...]:
        """Operations served by the general rule instead of one of their own."""
        return self._programs.slow_operations

    @property
    def kept_bytes(self) -> int:
        """Bytes of primal values kept between products."""
        return self._residency.nbytes

    def refresh(self) -> None:
        """Forget kept values if the model has other numbers now."""
        self._residency.refresh()

    def multiply(self, batch: Any, dots: Sequence[Tensor], index: int | None = None) -> Tangents:
        """Products with each vector, a cache-sized piece of the batch at a time."""
        size = self._size("gradient", batch, len(dots[0]))
        found = self._in_parts(
            "gradient", batch, size, lambda part: self._products(batch, part, index, size), dots
        )
        if len(found) == 1:
            return found[0]
        return [
            None if tensors_of[0] is None else torch.cat(tensors_of)  # the same ones are zero
            for tensors_of in zip(*found, strict=True)
        ]

    def quadratic(self, batch: Any, dots: Sequence[Tensor], index: int | None = None) -> Tensor:
        """Quadratic forms from forward tangents, a cache-sized piece of the batch at a time."""
        size = self._size("value", batch, len(dots[0]))
        return torch.cat(
            self._in_parts(
                "value", batch, size, lambda part: self._forms(batch, part, index, size), dots
            )
        )

    def _products(
        self, batch: Any, dots: Sequence[Tensor], index: int | None, size: int
    ) -> Tangents:
        def tangents(piece: Prepared, dots: Sequence[Tensor]) -> Tangents:
            with torch.no_grad():
                if piece.primals is None:
                    found = piece.program.tangents(piece.inputs, dots)
                else:
                    found = piece.program.tangents_at(piece.primals, piece.inputs, dots)
            return [None if part is None else _wide(part) for part in found]

        pieces = self._prepared("gradient", batch, size, index)
        return self._passes.sum("gradient", pieces, dots, tangents)

    def _forms(self, batch: Any, dots: Sequence[Tensor], index: int | None, size: int) -> Tensor:
        def forms(piece: Prepared, dots: Sequence[Tensor]) -> Tangents:
            with torch.no_grad():
                return [quadratic_forms(piece.program, piece.inputs, dots)]

        pieces = self._prepared("value", batch, size, index)
        (total,) = self._passes.sum("value", pieces, dots, forms)
        assert total is not None
        return total

    def _in_parts(
        self,
        kind: Kind,
        batch: Any,
        size: int,
        function: Callable[[list[Tensor]], Any],
        dots: Sequence[Tensor],
    ) -> list[Any]:
        """Results for the parts of a block that fit together, with passes of ``size`` rows."""
        count = min(size, rows(batch) or 1)
        while True:
            most = vectors_at_once(kind, count, self._row_elements, dots[0].device)
            most = min(most, self._most_vectors or most)
            try:
                return [function(part) for part in parts(dots, most)]
            except torch.OutOfMemoryError:
                # First fewer vectors at a time, then nothing kept between products.
                self._passes.stop("the device ran out of memory")
                used = min(most, len(dots[0]))
                if used == 1 and not self._residency.stop():
                    raise
                self._most_vectors = max(1, used // 2)

    def _size(self, kind: Kind, batch: Any, vectors: int) -> int:
        """Rows of one pass, whether or not a batch has so many: the same for a ragged last one."""
        if not self._cuts(batch):
            return WHOLE
        elements = self._form_elements if kind == "value" else self._row_elements
        return rows_at_once(kind, vectors, elements)

    def _prepared(self, kind: Kind, batch: Any, size: int, index: int | None) -> Iterator[Prepared]:
        """Pieces of ``size`` rows with their programs; kept ones if the batch has an index."""
        count = rows(batch) or 1
        for number, start in enumerate(range(0, count, size)):
            key = (kind, index, size, number)
            prepared = self._residency.get(key)
            if prepared is None:
                piece = batch if size >= count else cut(batch, slice(start, start + size))
                with twice_differentiable(self._model):
                    program = self._programs.find(kind, piece)
                inputs = self._inputs.gather(piece)
                if index is None:
                    prepared = Prepared(program, inputs, None)
                else:
                    # Quadratic forms run their own primal pass, in as little memory as they can.
                    with torch.no_grad():
                        wanted = size if kind == "gradient" else None
                        prepared = self._residency.keep(key, program, inputs, wanted)
            yield prepared

    def _cuts(self, batch: Any) -> bool:
        on_cpu = all(leaf.device.type == "cpu" for leaf in tensors(batch))
        return self._separable and on_cpu and rows(batch) is not None

    def programs_of(self, batch: Any) -> list[Program]:
        """Programs of one product and one form over ``batch``."""
        kinds: tuple[Kind, ...] = ("gradient", "value")
        return [
            piece.program
            for kind in kinds
            for piece in self._prepared(kind, batch, self._size(kind, batch, 1), None)
        ]

    def refusal(self, batch: Any) -> str | None:
        """Why the captured program of ``batch`` must not be used, or None.

        Held to double backward on a few rows in float64: a stop-gradient or a backward pass that
        leaves the graph makes the two disagree.
        """
        few = spread_rows(batch)
        values = self._inputs.gather(few, torch.float64)
        leaves = [value.clone().requires_grad_() for value in values[: self._parameters]]
        generator = torch.Generator().manual_seed(0)
        dots = [
            torch.randn(2, *leaf.shape, generator=generator, dtype=torch.float64).to(leaf.device)
            for leaf in leaves
        ]
        with twice_differentiable(self._model):
            program = self._programs.find("gradient", few, torch.float64)
            value_program = self._programs.find("value", few, torch.float64)
            with torch.enable_grad():
                moved = [*leaves, *values[len(leaves) :]]
                value = self._inputs.call(self._objective, few, moved)
                exact = self._exact(value, value_program, moved, dots)
        with torch.no_grad():
            ours = program.tangents_at(program.primals(values), values, dots)
            forms = quadratic_forms(value_program, values, dots)
        error = worst(relative_error(ours, exact), form_error(forms, dots, exact))
        self._separable = self._objective.sums_rows and self._rows_are_separate(few, leaves)
        self._row_elements = max(1, value_program.largest // (rows(few) or 1))
        spread = value_program.total // (VALUES * (rows(few) or 1))
        self._form_elements = max(self._row_elements, spread)
        if not error <= SEPARATE:
            return f"the captured program differs from double backward by {error:.1e} in float64"
        return None

    def _exact(
        self, value: Tensor, program: Program, inputs: list[Tensor], dots: list[Tensor]
    ) -> Tangents:
        """The products as autograd takes them, of the model's loss ``value`` or of its trace."""
        leaves = inputs[: self._parameters]
        if not isinstance(program, TailProgram):
            return double_backward(value, leaves, dots)
        outputs, loss = program.outputs_and_loss(inputs)
        own, traced = (
            torch.autograd.grad(one, leaves, retain_graph=True, materialize_grads=True)
            for one in (value, loss)
        )
        error = relative_error(traced, own)
        if not error <= SEPARATE:
            raise ValueError(
                f"the trace of the loss has another gradient than the model ({error:.1e})"
            )
        return gauss_newton(loss, outputs, leaves, dots)

    def derivative_error(self, batch: Any) -> tuple[float, list[str]]:
        """Error of double backward itself; see :func:`derivative_error`."""
        with twice_differentiable(self._model):
            return derivative_error(self._inputs, self._objective, batch, self._parameters)

    def _rows_are_separate(self, batch: Any, leaves: list[Tensor]) -> bool:
        """Whether the summed loss is a sum over rows, so that a batch may be cut further."""
        count = rows(batch)
        if count is None or count < 2:
            return False
        gradients = []
        # One row against the rest: a loss over pairs or halves of a batch shows, or fails.
        try:
            for part in (slice(0, count), slice(0, 1), slice(1, count)):
                piece = cut(batch, part)
                others = self._inputs.gather(piece, torch.float64)[len(leaves) :]
                value = self._inputs.call(self._objective, piece, [*leaves, *others])
                gradients.append(torch.autograd.grad(value, leaves, materialize_grads=True))
        except (RuntimeError, ValueError, IndexError):
            return False
        whole, first, second = gradients
        halves = [one + other for one, other in zip(first, second, strict=True)]
        return relative_error(halves, list(whole)) <= SEPARATE


def _wide(part: Tensor) -> Tensor:
    """In a precision that sums over pieces can be made in."""
    return part.float() if part.dtype.itemsize == 2 else part

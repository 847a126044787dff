"""Captured programs, made once per structure of a model and shared by all models that have it.

A grid measures hundreds of models that differ in their numbers only. What a trace depends on
besides numbers is the structure: classes, plain attributes, names, shapes and dtypes. A program
found under the same structure is still held to double backward by every operator before it is used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Literal

import torch
from torch import nn

from landscape_fast.linearise.capture import LossInputs, capture_gradient, capture_value
from landscape_fast.linearise.capture_outputs import (
    capture_pullback,
    capture_with_outputs,
    frozen_before,
    unmarked,
)
from landscape_fast.linearise.definition import structure_of
from landscape_fast.linearise.fusion import fuse
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.program import Program
from landscape_fast.linearise.quadratic import TailProgram
from landscape_fast.linearise.sharing import find_or_make, kind_of

Kind = Literal["gradient", "value"]
Form = Literal["hessian", "gauss-newton"]

_shared: OrderedDict[Hashable, Program] = OrderedDict()


class Programs:
    """Programs of one model's loss, by kind, batch shape and precision.

    Args:
        model: The module.
        objective: The loss.
        inputs: What the loss reads.
        directions: Number of leading inputs that are selected parameters.
        form: Which second derivative the programs give: all of it, or with the Jacobian of the
            network's outputs held fixed.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        inputs: LossInputs,
        directions: int,
        form: Form = "hessian",
    ) -> None:
        self._form = form
        self._objective = objective
        self._inputs = inputs
        self._directions = directions
        # A function of the caller's may read anything, so its programs stay with this model.
        own = objective.key is None
        self._structure = (
            None if own else structure_of(model, (objective.key, inputs.names, directions, form))
        )
        self._own: dict[Hashable, Program] = {}

    @property
    def slow_operations(self) -> tuple[str, ...]:
        """Operations of the programs in use that only the general rule serves."""
        return tuple(sorted({name for program in self._own.values() for name in program.slow}))

    def find(self, kind: Kind, batch: Any, dtype: torch.dtype | None = None) -> Program:
        """Program for ``batch``, captured if it is new; with inputs in ``dtype`` if given."""
        real = [leaf for leaf in self._inputs.gather(batch) if leaf.is_floating_point()]
        if all(leaf.dtype == dtype for leaf in real):
            dtype = None  # the inputs as they are
        key = (kind, kind_of(batch), dtype)
        if key not in self._own:
            self._own[key] = find_or_make(
                _shared,
                None if self._structure is None else (self._structure, key),
                lambda: self._captured(kind, batch, dtype),
                lambda program: not program.has_constants,
            )
        return self._own[key]

    def _captured(self, kind: Kind, batch: Any, dtype: torch.dtype | None) -> Program:
        capture: Any
        if self._form == "hessian":
            capture = capture_gradient if kind == "gradient" else capture_value
        else:
            capture = capture_pullback if kind == "gradient" else capture_with_outputs
        traced = capture(self._inputs, self._objective, batch, self._directions, dtype)
        fuse(traced, convolutions=kind == "gradient")
        if self._form == "hessian":
            return Program(traced, self._directions)
        marked = unmarked(traced, self._directions if kind == "gradient" else 1)
        if kind == "value":
            return TailProgram(traced, self._directions, marked)
        return Program(traced, self._directions, muted=frozen_before(traced, marked))

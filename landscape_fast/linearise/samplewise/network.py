"""The network of a loss as pullback programs, held to the model's own gradient before use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscape_fast.linearise.agreement import SEPARATE, relative_error, spread_rows
from landscape_fast.linearise.capture import LossInputs
from landscape_fast.linearise.capture_outputs import capture_pullback, capture_with_outputs
from landscape_fast.linearise.cuts import cut
from landscape_fast.linearise.definition import structure_of
from landscape_fast.linearise.fusion import fuse
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.program import Program
from landscape_fast.linearise.programs import Programs
from landscape_fast.linearise.quadratic import TailProgram
from landscape_fast.linearise.samplewise.exact import exact_parameters
from landscape_fast.linearise.samplewise.factors import Factors, factors_of
from landscape_fast.linearise.samplewise.layouts import find_layouts
from landscape_fast.linearise.samplewise.pullback import (
    PullbackProgram,
    producers_of,
    with_free_slope,
)
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.linearise.sharing import find_or_make, kind_of
from landscape_fast.linearise.structure import rows

_shared: OrderedDict[Hashable, fx.GraphModule] = OrderedDict()


class SampledNetwork:
    """Per-sample gradients of the outputs of the network that a loss is made of.

    Args:
        model: The module, in evaluation mode.
        objective: The loss.
        space: The selected parameters.
        batch: The first batch; eight of its rows are used to check.

    Attributes:
        exact: Indices of parameters in which the outputs are piecewise linear.
        fast: Indices of parameters whose squares have a rule; the others go row by row.

    Raises:
        ValueError: The loss cannot be cut, couples rows, has several outputs, or is not what a
            trace of it computes.
        Exception: As :func:`capture_gradient`.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, space: ParameterSpace, batch: Any
    ) -> None:
        self._model = model
        self._objective = objective
        self._inputs = LossInputs(model, space)
        self._count = len(space.tensors)
        self._values = Programs(model, objective, self._inputs, self._count, "gauss-newton")
        own = objective.key is None
        self._structure = (
            None if own else structure_of(model, (objective.key, self._inputs.names, self._count))
        )
        self._traces: dict[Hashable, fx.GraphModule] = {}
        self._fast: dict[Hashable, PullbackProgram] = {}
        self._single: dict[Hashable, tuple[Program, torch.Size]] = {}
        self._dtype = None if model_is_plain(space) else torch.float32
        if rows(batch) is None:
            raise ValueError("the tensors of the batch have no common rows")
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is None:
                raise ValueError(
                    f"the model couples rows: {name!r} normalises by the statistics of each batch "
                    "(track_running_stats=False), so no row has a gradient of its own; operators "
                    "(HessianOperator, GGNOperator) take such a model"
                )
        few = spread_rows(batch)
        with twice_differentiable(model):
            self._inspect(few)

    def _inspect(self, few: Any) -> None:
        count = rows(few) or 0
        values = self._inputs.gather(few, torch.float64)
        first = len(self._inputs.names)
        if count < 2:
            raise ValueError("a batch of one row does not show which values belong to a row")
        traced = self._traced(few, torch.float64)
        self._layouts, self.layout = find_layouts(traced, values, first, count)
        self._require_gradient(few, values)
        value = capture_with_outputs(self._inputs, self._objective, few, self._count, torch.float64)
        end = next(node for node in value.graph.nodes if node.op == "output")
        self.exact = exact_parameters(value, end.args[0][0], self._count)
        producers = producers_of(traced, self._layouts)
        self.fast = tuple(i for i, producer in enumerate(producers) if producer is not None)
        self._check(few, values, traced, count)

    def _require_gradient(self, few: Any, values: list[Tensor]) -> None:
        """The trace of the loss, the pullback and the model have one gradient."""
        leaves = [value.clone().requires_grad_() for value in values[: self._count]]
        with torch.enable_grad():
            moved = [*leaves, *values[self._count :]]
            own = self._inputs.call(self._objective, few, moved)
            exact = torch.autograd.grad(own, leaves, materialize_grads=True)
            program = self._values.find("value", few, torch.float64)
            assert isinstance(program, TailProgram)
            outputs, loss = program.outputs_and_loss(moved)
            traced = torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
            (slope,) = torch.autograd.grad(loss, outputs)
        single = Program(self._traced(few, torch.float64, gradients=True), 1)
        with torch.no_grad():
            ours = single.tangents([torch.zeros_like(slope), *values], [slope.detach()[None]])
        found = [None if block is None else block[0] for block in ours]
        error = max(relative_error(traced, exact), relative_error(found, exact))
        if not error <= SEPARATE:
            raise ValueError(f"the trace of the loss has another gradient ({error:.1e})")

    def _check(self, few: Any, values: list[Tensor], traced: fx.GraphModule, count: int) -> None:
        """All rows at once against one row after another, with random cotangents."""
        shape = _outputs(traced).shape
        generator = torch.Generator().manual_seed(1)
        block = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        block = block.to(values[0].device)
        like = [torch.zeros_like(value) for value in values[: self._count]]
        by_row = [torch.zeros_like(value) for value in like]
        with torch.no_grad():
            program = PullbackProgram(traced, self._layouts, self.fast)
            program.add_squares(values, block, like)
            for row in range(count):
                part = self.layout.apart(block.movedim(0, -1), count)[row].movedim(-1, 0)
                self._add_row(cut(few, slice(row, row + 1)), part, by_row, self.fast, torch.float64)
        error = relative_error([like[i] for i in self.fast], [by_row[i] for i in self.fast])
        if not error <= SEPARATE:
            raise ValueError(f"the model couples rows: their squares differ by {error:.1e}")

    def factors(self, batch: Any) -> Factors:
        """Second derivative of the loss in the outputs of a whole batch."""
        program = self._values.find("value", batch, self._dtype)
        assert isinstance(program, TailProgram)
        inputs = self._inputs.gather(batch, self._dtype)
        return factors_of(program, inputs, self.layout, rows(batch) or 1)

    def row_elements(self, few: Any) -> int:
        """Elements per row of the largest value that a cotangent of few rows becomes."""
        program = PullbackProgram(self._traced(few, self._dtype), self._layouts, self.fast)
        return max(1, program.largest // (rows(few) or 1))

    def output_shape(self, batch: Any) -> torch.Size:
        """Shape of the network's outputs."""
        return _outputs(self._traced(batch, self._dtype)).shape

    def add_squares(self, batch: Any, block: Tensor, into: Sequence[Tensor]) -> None:
        """Add squares for cotangents (K, *outputs), for the fast parameters."""
        key = kind_of(batch)
        if key not in self._fast:
            traced = self._traced(batch, self._dtype)
            self._fast[key] = PullbackProgram(traced, self._layouts, self.fast)
        inputs = self._inputs.gather(batch, self._dtype)
        with torch.no_grad():
            self._fast[key].add_squares(inputs, block.to(inputs[0].dtype), into)

    def add_row(self, row: Any, block: Tensor, into: Sequence[Tensor]) -> None:
        """Add squares for cotangents (K, ...) of one row, for the other parameters."""
        others = [index for index in range(self._count) if index not in self.fast]
        with torch.no_grad():
            self._add_row(row, block, into, others, self._dtype)

    def _add_row(
        self,
        row: Any,
        block: Tensor,
        into: Sequence[Tensor],
        wanted: Sequence[int],
        dtype: torch.dtype | None,
    ) -> None:
        found = self._gradients(row, block, wanted, dtype)
        for index, gradients in zip(wanted, found, strict=True):
            if gradients is not None:
                into[index].add_(gradients.square().sum(0, dtype=torch.float64))

    def gradients(self, row: Any, block: Tensor) -> list[Tensor | None]:
        """``J^T s`` by parameter, (K, *shape), for cotangents (K, ...) of one row; None is zero."""
        with torch.no_grad():
            return self._gradients(row, block, range(self._count), self._dtype)

    def _gradients(
        self, row: Any, block: Tensor, wanted: Sequence[int], dtype: torch.dtype | None
    ) -> list[Tensor | None]:
        key = (kind_of(row), dtype, tuple(wanted))
        if key not in self._single:
            traced = self._traced(row, dtype, gradients=True, wanted=wanted)
            shape = traced.graph.find_nodes(op="placeholder")[0].meta["val"].shape
            self._single[key] = (Program(traced, 1), shape)
        program, shape = self._single[key]
        inputs = self._inputs.gather(row, dtype)
        block = block.reshape(len(block), *shape).to(inputs[0].dtype)
        return program.tangents([torch.zeros_like(block[0]), *inputs], [block])

    def _traced(
        self,
        batch: Any,
        dtype: torch.dtype | None,
        *,
        gradients: bool = False,
        wanted: Sequence[int] | None = None,
    ) -> fx.GraphModule:
        """The pullback of a batch, shared where nothing can hide; or its gradients alone."""
        key = (kind_of(batch), dtype)
        if key not in self._traces:
            self._traces[key] = find_or_make(
                _shared,
                None if self._structure is None else (self._structure, key),
                lambda: self._captured(batch, dtype),
                lambda traced: not traced.graph.find_nodes(op="get_attr"),
            )
        traced = self._traces[key]
        return _gradients_alone(traced, wanted) if gradients else traced

    def _captured(self, batch: Any, dtype: torch.dtype | None) -> fx.GraphModule:
        with twice_differentiable(self._model):
            traced = capture_pullback(self._inputs, self._objective, batch, self._count, dtype)
        return with_free_slope(fuse(traced, convolutions=True), self._count)


def model_is_plain(space: ParameterSpace) -> bool:
    """Whether all parameters are in a precision that squares may be taken in."""
    return all(tensor.dtype in (torch.float32, torch.float64) for tensor in space.tensors)


def _gradients_alone(traced: fx.GraphModule, wanted: Sequence[int] | None) -> fx.GraphModule:
    copied: dict[Any, Any] = {}
    graph = fx.Graph()
    output: Any = graph.graph_copy(traced.graph, copied)
    gradients = output[1:]
    chosen = gradients if wanted is None else tuple(gradients[index] for index in wanted)
    graph.output(chosen)
    alone = fx.GraphModule(traced, graph)
    alone.graph.eliminate_dead_code()
    return alone


def _outputs(traced: fx.GraphModule) -> Tensor:
    end = next(node for node in traced.graph.nodes if node.op == "output")
    outputs: Any = end.args[0]
    return outputs[0].meta["val"]

"""The gradient of a batch loss as a straight-line ATen program, traced on fake tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.structure import map_tensors, tensors


class LossInputs:
    """What a captured loss reads, as one flat list: selected parameters, the rest, the batch.

    Args:
        model: The module; nothing of it is changed.
        space: The selected parameters, which come first.

    Attributes:
        names: Of the model's own inputs.
        parameters: How many of them, from the first, are parameters, selected or not.
    """

    def __init__(self, model: nn.Module, space: ParameterSpace) -> None:
        self._model = model
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        others = (name for name in named if name not in set(space.names))
        self.names = (*space.names, *others)
        self.parameters = len(dict(model.named_parameters()))

    def gather(self, batch: Any, dtype: torch.dtype | None = None) -> list[Tensor]:
        """Current values, detached; floating-point ones in ``dtype`` if it is given."""
        named = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        values = [named[name] for name in self.names]
        values = [value.detach() for value in (*values, *tensors(batch))]
        if dtype is None:
            return values
        return [value.to(dtype) if value.is_floating_point() else value for value in values]

    def call(self, objective: Objective, batch: Any, values: list[Tensor]) -> Tensor:
        """Summed loss of a batch built like ``batch`` from ``values``."""
        names = [f"model.{name}" for name in self.names]
        leaves = iter(values[len(names) :])
        rebuilt = map_tensors(lambda _: next(leaves), batch)
        return functional_call(
            _Summed(self._model, objective), dict(zip(names, values, strict=False)), (rebuilt,)
        )


class _Summed(nn.Module):
    """The summed loss as a module, so that a loss function sees a model with swapped parameters."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, batch: Any) -> Tensor:
        return self._objective.summed(self.model, batch)


def capture_value(
    inputs: LossInputs, objective: Objective, batch: Any, parameters: int, dtype: torch.dtype | None
) -> fx.GraphModule:
    """Trace the summed loss itself; one placeholder per input, one output.

    Raises:
        Exception: As :func:`capture_gradient`.
    """
    return trace(
        lambda values: (inputs.call(objective, batch, values),), inputs, batch, parameters, dtype
    )


def capture_gradient(
    inputs: LossInputs, objective: Objective, batch: Any, parameters: int, dtype: torch.dtype | None
) -> fx.GraphModule:
    """Trace the gradient of the summed loss with respect to the first ``parameters`` inputs.

    ``torch.autograd.grad`` is traced rather than ``torch.func.grad``, which refuses autograd
    Functions written before it.

    Returns:
        Placeholders for every input, one output per parameter, None where the loss ignores it.

    Raises:
        Exception: Whatever the tracer raises on control flow that depends on data.
    """

    def gradient(values: list[Tensor]) -> tuple[Tensor | None, ...]:
        value = inputs.call(objective, batch, values)
        return torch.autograd.grad(value, values[:parameters], allow_unused=True)

    return trace(gradient, inputs, batch, parameters, dtype)


def trace(
    function: Callable[[list[Tensor]], tuple[Tensor | None, ...]],
    inputs: LossInputs,
    batch: Any,
    parameters: int,
    dtype: torch.dtype | None,
) -> fx.GraphModule:
    """Trace ``function`` of the inputs' values, the first ``parameters`` of them as leaves."""
    values = inputs.gather(batch, dtype)
    # Parameters that require grad keep modules off the shortcuts they take without it.
    leaves = [value.clone().requires_grad_() for value in values[:parameters]]
    with torch.enable_grad():
        traced = make_fx(function, tracing_mode="fake")([*leaves, *values[parameters:]])
    traced.graph.eliminate_dead_code()
    for node in traced.graph.nodes:
        if _mutates(node):
            raise ValueError(f"the loss works in place ({node.target})")
    return traced


def _mutates(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable

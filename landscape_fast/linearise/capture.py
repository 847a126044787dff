"""The gradient of a batch loss as a straight-line ATen program, traced on fake tensors."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from landscape_fast.functional import called_with
from landscape_fast.linearise.checkpointing import stored_activations
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.plain_operations import PlainOperations
from landscape_fast.linearise.rules.forms import DECOMPOSED, positional
from landscape_fast.linearise.stops import MarkedStops, keep_stops
from landscape_fast.linearise.strides import without_strides
from landscape_fast.linearise.structure import map_tensors, tensors

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


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
        """Current values, detached; real ones in ``dtype`` if it is given, complex ones as wide."""
        named = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        values = [named[name] for name in self.names]
        values = [value.detach() for value in (*values, *tensors(batch))]
        if dtype is None:
            return values
        return [_in_precision(value, dtype) for value in values]

    def call(self, objective: Objective, batch: Any, values: list[Tensor]) -> Tensor:
        """Summed loss of a batch built like ``batch`` from ``values``."""
        names = [f"model.{name}" for name in self.names]
        leaves = iter(values[len(names) :])
        rebuilt = map_tensors(lambda _: next(leaves), batch)
        own = dict(self._model.named_parameters())[self.names[0]].dtype
        promoted = nullcontext() if values[0].dtype == own else _Promoted(values[0].dtype)
        marks = MarkedStops() if isinstance(values[0], FakeTensor) else nullcontext()
        # The last sees a call first, so that what operations detach in their parts is marked too.
        with promoted, stored_activations(), marks, PlainOperations():
            swapped = dict(zip(names, values, strict=False))
            return called_with(_Summed(self._model, objective), swapped, (rebuilt,))

    @contextmanager
    def recorded(self) -> Iterator[list[Tensor]]:
        """Collect what the model returns when it is called inside the block."""
        found: list[Tensor] = []
        handle = self._model.register_forward_hook(lambda _, __, out: found.extend(tensors(out)))
        try:
            yield found
        finally:
            handle.remove()

    def storages(self) -> set[int]:
        """Addresses of the memory of every parameter and buffer."""
        named = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        return {tensor.untyped_storage().data_ptr() for tensor in named.values()}


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
        if not value.requires_grad:  # as of a batch in which nothing is labelled
            return (None,) * parameters
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
    with _quiet(), _plain_layers(), _unchecked_distributions():
        with torch.enable_grad():
            traced = _made(function, [*leaves, *values[parameters:]])
        if any(_mutates(node) for node in traced.graph.nodes):
            # The trace is straight-line, so that works in place can be written out of place.
            with torch.no_grad():
                traced = _made(functionalize(traced, remove="mutations"), values)
    traced.graph.eliminate_dead_code()
    for node in traced.graph.nodes:
        if _mutates(node):
            raise ValueError(f"the loss works in place on what it is given ({node.target})")
        positional(node)
    keep_stops(traced.graph)
    without_strides(traced.graph)
    _require_foreign(traced, inputs.storages())
    return traced


def _made(function: Callable[..., Any], values: list[Tensor]) -> fx.GraphModule:
    # Tensors that the loss holds itself, as class weights, become constants of the program.
    return make_fx(
        function,
        decomposition_table=DECOMPOSED,
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )(values)


def _mutates(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _require_foreign(traced: fx.GraphModule, storages: set[int]) -> None:
    """Refuse a loss that holds tensors of the model itself, which would become constants."""
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            held = getattr(traced, str(node.target))
            derived = held.requires_grad and not held.is_leaf
            if derived or held.untyped_storage().data_ptr() in storages:
                raise ValueError("the loss reads a parameter or buffer past the model")


def _in_precision(value: Tensor, dtype: torch.dtype) -> Tensor:
    if value.is_complex():
        return value.to(dtype.to_complex())
    return value.to(dtype) if value.is_floating_point() else value


class _Promoted(TorchFunctionMode):
    """Where values of ``dtype`` meet others, as class weights that the loss holds, these follow."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [args, kwargs or {}]
        dtypes = {leaf.dtype for leaf in tensors(given)}
        if self._dtype in dtypes and len(dtypes) > 1:
            with torch._C.DisableTorchFunction():
                args, kwargs = map_tensors(lambda leaf: _in_precision(leaf, self._dtype), given)
        return func(*args, **(kwargs or {}))


@contextmanager
def _plain_layers() -> Iterator[None]:
    """Trace recurrent layers in their parts: oneDNN has one operation, without forward mode."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """Let distributions take their arguments on trust: a trace does not know whether they hold."""
    checks = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(checks)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer from printing what it raises as well, and from setting a variable of its own.

    It looks for a file of its compiler's cache, and tells the processes it might start where.
    """
    _import_tracer()
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level, cache = log.level, os.environ.get(_CACHE)
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
        if cache is None:
            os.environ.pop(_CACHE, None)
        else:
            os.environ[_CACHE] = cache


@functools.cache
def _import_tracer() -> None:
    """Import what the tracer imports when it first runs: sympy leaves a filter of warnings."""
    with warnings.catch_warnings():
        importlib.import_module("torch.fx.experimental.symbolic_shapes")

"""Captured losses that know their outputs: traces with the cut, or the slopes there, marked.

A marked trace returns the marked values first, so that they survive whatever else is done to the
graph; :func:`unmarked` takes the marks off again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast.linearise.capture import LossInputs, trace
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.output_cut import output_cut
from landscape_fast.linearise.structure import rows


def capture_with_outputs(
    inputs: LossInputs, objective: Objective, batch: Any, directions: int, dtype: torch.dtype | None
) -> fx.GraphModule:
    """Trace the summed loss, marked at the outputs of the network (:func:`output_cut`).

    Raises:
        ValueError: The loss cannot be cut.
        Exception: As :func:`capture_gradient`.
    """

    def value(values: list[Tensor]) -> tuple[Tensor | None, ...]:
        with inputs.recorded() as returned:
            return (inputs.call(objective, batch, values), *returned)

    traced = trace(value, inputs, batch, directions, dtype)
    end = next(node for node in traced.graph.nodes if node.op == "output")
    loss, *returned = end.args[0]
    cut = output_cut(traced, inputs.parameters, rows(batch), returned)
    end.args = ((*cut, loss),)
    traced.graph.eliminate_dead_code()
    return traced


def capture_pullback(
    inputs: LossInputs, objective: Objective, batch: Any, directions: int, dtype: torch.dtype | None
) -> fx.GraphModule:
    """Trace the gradient, marked at the slopes of the loss in the outputs.

    What follows the marks is their pullback to the parameters.

    Raises:
        ValueError: The loss cannot be cut.
        Exception: As :func:`capture_gradient`.
    """
    value = capture_with_outputs(inputs, objective, batch, directions, dtype)

    def pullback(values: list[Tensor]) -> tuple[Tensor | None, ...]:
        *outputs, loss = fx.Interpreter(value).run(*values, enable_io_processing=False)
        slopes = torch.autograd.grad(loss, outputs, retain_graph=True)
        leaves = values[:directions]
        return (*slopes, *torch.autograd.grad(outputs, leaves, slopes, allow_unused=True))

    return trace(pullback, inputs, batch, directions, dtype)


def unmarked(traced: fx.GraphModule, outputs: int) -> list[fx.Node]:
    """Take the marks off a trace of so many outputs of its own, and return the marked nodes."""
    end = next(node for node in traced.graph.nodes if node.op == "output")
    found = list(end.args[0])
    end.args = (tuple(found[-outputs:]),)
    return found[:-outputs]


def frozen_before(traced: fx.GraphModule, slopes: list[fx.Node]) -> dict[fx.Node, set[fx.Node]]:
    """For each node behind ``slopes``, what it reads that is not: its tangents must not count.

    Then tangents of the pullback are ``J^T`` on the tangents of the slopes, ``A J v``, with the
    Jacobian held fixed.
    """
    behind = set(slopes)
    frozen: dict[fx.Node, set[fx.Node]] = {}
    for node in traced.graph.nodes:
        sources = set(node.all_input_nodes)
        if node not in slopes and sources & behind:
            behind.add(node)
            frozen[node] = sources - behind
    return frozen

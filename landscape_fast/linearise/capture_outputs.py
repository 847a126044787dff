"""Captured losses that know their outputs: traces with the cut, or the slope there, marked.

A marked trace returns the marked value first, so that it survives whatever else is done to the
graph; :func:`unmarked` takes it off again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast.linearise.capture import LossInputs, capture_value, trace
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
    traced = capture_value(inputs, objective, batch, directions, dtype)
    cut = output_cut(traced, inputs.parameters, rows(batch))
    end = next(node for node in traced.graph.nodes if node.op == "output")
    end.args = ((cut, *end.args[0]),)
    return traced


def capture_pullback(
    inputs: LossInputs, objective: Objective, batch: Any, directions: int, dtype: torch.dtype | None
) -> fx.GraphModule:
    """Trace the gradient, marked at the slope of the loss in the outputs.

    What follows the mark is its pullback to the parameters.

    Raises:
        ValueError: The loss cannot be cut.
        Exception: As :func:`capture_gradient`.
    """
    value = capture_with_outputs(inputs, objective, batch, directions, dtype)

    def pullback(values: list[Tensor]) -> tuple[Tensor | None, ...]:
        outputs, loss = run(value, values)
        (slope,) = torch.autograd.grad(loss, outputs, retain_graph=True)
        leaves = values[:directions]
        return (slope, *torch.autograd.grad(outputs, leaves, slope, allow_unused=True))

    return trace(pullback, inputs, batch, directions, dtype)


def run(traced: fx.GraphModule, values: list[Tensor]) -> Any:
    """Outputs of a trace, with the autograd graph of its calls."""
    return fx.Interpreter(traced).run(*values, enable_io_processing=False)


def unmarked(traced: fx.GraphModule) -> fx.Node:
    """Take the mark off a trace and return the marked node."""
    end = next(node for node in traced.graph.nodes if node.op == "output")
    marked, *rest = end.args[0]
    end.args = (tuple(rest),)
    return marked


def frozen_before(traced: fx.GraphModule, slope: fx.Node) -> dict[fx.Node, set[fx.Node]]:
    """For each node behind ``slope``, what it reads that is not: its tangents must not count.

    Then tangents of the pullback are ``J^T`` on the tangent of the slope, ``A J v``, with the
    Jacobian held fixed.
    """
    behind = {slope}
    frozen: dict[fx.Node, set[fx.Node]] = {}
    for node in traced.graph.nodes:
        sources = set(node.all_input_nodes)
        if node.op == "call_function" and sources & behind:
            behind.add(node)
            frozen[node] = sources - behind
    return frozen

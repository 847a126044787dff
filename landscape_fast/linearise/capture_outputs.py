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
from landscape_fast.linearise.stops import STOPS, marked
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
    own = returned if objective.ends_at_model else ()
    cut = output_cut(traced, inputs.parameters, rows(batch), own)
    end.args = ((*cut, loss),)
    traced.graph.eliminate_dead_code()
    return traced


def capture_pullback(
    inputs: LossInputs, objective: Objective, batch: Any, directions: int, dtype: torch.dtype | None
) -> fx.GraphModule:
    """Trace the gradient, marked at the outputs of the network and at the loss's slopes in them.

    What follows the slopes is their pullback to the parameters. What the caller detached is marked
    behind them: a trace of a gradient has detached values of its own, which do move.

    Returns:
        Placeholders for every input. Outputs: the network's, as many slopes (``meta["outputs"]``
        says how many), what the caller detached, and one gradient per parameter, None where the
        loss ignores it.

    Raises:
        ValueError: The loss cannot be cut.
        Exception: As :func:`capture_gradient`.
    """
    value = capture_with_outputs(inputs, objective, batch, directions, dtype)

    number = 0

    def pullback(values: list[Tensor]) -> tuple[Tensor | None, ...]:
        nonlocal number
        run = _Replay(value)
        *outputs, loss = run.run(*values, enable_io_processing=False)
        slopes = torch.autograd.grad(loss, outputs, retain_graph=True)
        number = len(slopes)
        gradients = torch.autograd.grad(outputs, values[:directions], slopes, allow_unused=True)
        return (*outputs, *slopes, *run.stopped, *gradients)

    traced = trace(pullback, inputs, batch, directions, dtype)
    traced.meta["outputs"] = number
    return traced


class _Replay(fx.Interpreter):
    """Calls a trace again, and collects what its stop-gradients return."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.stopped: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        """One call of the trace."""
        out = super().run_node(n)
        if n.target in STOPS:
            out = marked(out)
            self.stopped.append(out)
        return out


def unmarked(traced: fx.GraphModule, outputs: int) -> list[fx.Node]:
    """Take the marks off a trace of so many outputs of its own, and return the marked nodes."""
    end = next(node for node in traced.graph.nodes if node.op == "output")
    found = list(end.args[0])
    end.args = (tuple(found[-outputs:]),)
    return found[:-outputs]


def frozen_before(traced: fx.GraphModule, marked: list[fx.Node]) -> dict[fx.Node, set[fx.Node]]:
    """For each node of :func:`capture_pullback`'s trace, what it reads whose tangents are zero.

    Behind the slopes that is all that is not behind them. Then tangents of the pullback are ``J^T``
    on the tangents of the slopes, ``A J v``, with the Jacobian held fixed. What the caller detached
    is a constant everywhere.
    """
    number = traced.meta["outputs"]
    slopes, stopped = set(marked[number : 2 * number]), set(marked[2 * number :])
    behind = set(slopes)
    frozen: dict[fx.Node, set[fx.Node]] = {}
    for node in traced.graph.nodes:
        sources = set(node.all_input_nodes)
        frozen[node] = sources & stopped
        if node not in slopes and sources & behind:
            behind.add(node)
            frozen[node] |= sources - behind
    return frozen

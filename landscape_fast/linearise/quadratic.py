"""Quadratic forms of the second derivative from forward tangents alone."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from landscape_fast.linearise.program import Program, Step, filled, push, start, tangent_of
from landscape_fast.linearise.rules import LINEAR
from landscape_fast.linearise.rules.curvature import CURVATURES, STRAIGHT, second_forward_mode
from landscape_fast.linearise.stops import STOPS


class TailProgram(Program):
    """A value whose curvature counts from one of its steps on: the loss of a network's outputs.

    Args:
        traced: Of the scalar.
        directions: Number of leading placeholders that tangents start from.
        cuts: The outputs; the loss depends on those placeholders through them alone.
    """

    def __init__(self, traced: fx.GraphModule, directions: int, cuts: Sequence[fx.Node]) -> None:
        super().__init__(traced, directions)
        nodes = list(traced.graph.nodes)
        self.cuts = frozenset(nodes.index(cut) for cut in cuts)

    @property
    def cut(self) -> int:
        """Slot of the one output; a ValueError where there are several."""
        if len(self.cuts) > 1:
            raise ValueError("the network has several outputs, and one is needed")
        return next(iter(self.cuts))

    def outputs_and_loss(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Both with the autograd graph of the program's calls."""
        values = run(self, inputs)
        (end,) = self.outputs
        assert end is not None
        return [values[cut] for cut in self.cuts], values[end]


def quadratic_forms(program: Program, inputs: Sequence[Tensor], dots: Sequence[Tensor]) -> Tensor:
    r"""Second derivatives of a scalar program along directions, without backward tangents.

    With :math:`\lambda_j` the adjoints of one ordinary backward pass and :math:`u'_j` the forward
    tangents, :math:`v^\top H v = \sum_j \langle \lambda_j, D^2 \varphi_j[u', u'] \rangle`: about a
    third of the arithmetic of double backward, and no tangent of the backward pass in memory.
    Of a :class:`TailProgram` only the steps behind its cut count: that is the Gauss-Newton form.

    Args:
        program: Of a scalar.
        inputs: One value per placeholder.
        dots: (K, *shape) for each of the leading ones.

    Returns:
        (K,) float64.
    """
    values, adjoints = _adjoints(program, inputs, len(dots))
    return curvature_terms(program, inputs, dots, values, adjoints)


def curvature_terms(
    program: Program,
    inputs: Sequence[Tensor],
    dots: Sequence[Tensor],
    values: list[Any],
    adjoints: dict[int, Tensor],
) -> Tensor:
    """Sum of ``<lambda_j, D^2 phi_j[u', u']>`` over the steps that have an adjoint: (K,) float64.

    Args:
        program: The program.
        inputs: One value per placeholder.
        dots: (K, *shape) for each of the leading ones.
        values: Of every slot, without graph; emptied as they are used up.
        adjoints: By slot; emptied likewise.
    """
    values = _detached(values)
    _, blocks = start(program, inputs, dots)
    total = torch.zeros(len(dots[0]), dtype=torch.float64, device=dots[0].device)
    with torch.no_grad():
        for step in program.steps:
            if not adjoints:
                break
            if not step.pushed:
                continue
            args = [filled(item, values) for item in step.args]
            directions = [tangent_of(item, blocks) for item in step.args]
            adjoint = adjoints.pop(step.slot, None)
            if adjoint is not None and any(dot is not None for dot in directions):
                term = _term(step, args, directions, values[step.slot], adjoint)
                if term is not None:
                    total += term
            blocks[step.slot] = push(step.target, args, step.kwargs, directions, values[step.slot])
            for slot in step.dead:
                values[slot] = blocks[slot] = None
    return total


def _term(step: Step, args: list[Any], dots: list[Any], out: Any, adjoint: Tensor) -> Any:
    rule = CURVATURES.get(step.target)
    term = NotImplemented if rule is None else rule(args, dots, out, adjoint)
    if term is NotImplemented:
        return second_forward_mode(step.target, args, step.kwargs, dots, adjoint)
    return term


def curved_values(steps: Iterable[Step], values: Sequence[Any]) -> dict[int, Tensor]:
    """Outputs, by slot, of those steps that bend and that a gradient reaches."""
    found = {}
    for step in steps:
        flat = step.target in LINEAR or step.target in STRAIGHT or step.target is operator.getitem
        out = values[step.slot]
        main = out[0] if isinstance(out, tuple) else out
        if step.pushed and not flat and isinstance(main, Tensor) and main.requires_grad:
            found[step.slot] = main
    return found


def _adjoints(
    program: Program, inputs: Sequence[Tensor], directions: int
) -> tuple[list[Any], dict[int, Tensor]]:
    """Run the program once forward and once backward: all values, adjoints of curved steps."""
    cuts = program.cuts if isinstance(program, TailProgram) else frozenset[int]()
    leaves = [value.detach().requires_grad_(not cuts) for value in inputs[:directions]]
    with torch.enable_grad():
        values = run(program, [*leaves, *inputs[directions:]], cuts)
        (end,) = program.outputs
        curved = curved_values((s for s in program.steps if s.slot not in cuts), values)
        if end is None or not curved:
            return values, {}
        gradients = torch.autograd.grad(values[end], list(curved.values()), allow_unused=True)
    found = zip(curved, gradients, strict=True)
    return values, {slot: g for slot, g in found if g is not None}


def run(
    program: Program, inputs: Sequence[Tensor], leaves: frozenset[int] = frozenset()
) -> list[Any]:
    """All values of a program, with gradients; those of ``leaves`` as if they were inputs."""
    values, _ = start(program, inputs, [])
    for step in program.steps:
        args = [filled(item, values) for item in step.args]
        out = step.target(*args, **step.kwargs)
        out = out.detach() if step.target in STOPS else out
        values[step.slot] = out.detach().requires_grad_() if step.slot in leaves else out
    return values


def _detached(values: list[Any]) -> list[Any]:
    def detach(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.detach()
        return tuple(map(detach, item)) if isinstance(item, list | tuple) else item

    return [detach(item) for item in values]

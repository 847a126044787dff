"""Where the rows of a batch lie in the values of a program, found by moving the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx


@dataclass(frozen=True, slots=True)
class Layout:
    """Dimension ``dim`` of a value counts (outer, rows, inner); one row is one sample."""

    dim: int
    outer: int = 1
    inner: int = 1

    def apart(self, value: Tensor, rows: int) -> Tensor:
        """(..., outer * rows * inner, ...) as (rows, ..., outer, inner, ...)."""
        split = value.unflatten(self.dim, (self.outer, rows, self.inner))
        return split.movedim(self.dim + 1, 0)

    def shifted(self, value: Tensor, rows: int) -> Tensor:
        """The value with every row in the place of the next one."""
        split = value.unflatten(self.dim, (self.outer, rows, self.inner))
        return split.roll(1, self.dim + 1).reshape(value.shape)


PLAIN = Layout(0)


def find_layouts(
    traced: fx.GraphModule, inputs: Sequence[Tensor], first: int, rows: int
) -> tuple[dict[str, Layout], Layout]:
    """Layouts of all values of a pullback by name, and that of the outputs.

    The program runs on a batch and on the same batch with every row moved on by one. How a value
    moves tells where its rows lie, whatever the operations were.

    Args:
        traced: From :func:`with_free_slope`, for ``rows`` rows.
        inputs: One value per input of the loss, float64.
        first: Of the inputs that is part of the batch.
        rows: At least 2; all different.

    Raises:
        ValueError: The rows do not show in the outputs.
    """
    moved = [
        value.roll(1, 0) if index >= first and value.dim() else value
        for index, value in enumerate(inputs)
    ]
    end = next(node for node in traced.graph.nodes if node.op == "output")
    outputs = end.args[0][0]
    like = outputs.meta["val"]
    generator = torch.Generator().manual_seed(0)
    slope = torch.randn(like.shape, generator=generator, dtype=inputs[0].dtype).to(like.device)
    one, other = (evaluate(traced, [slope, *values]) for values in (inputs, moved))
    place = _layout(one[outputs], other[outputs], rows)
    if place is None:
        if all(map(torch.equal, inputs[first:], moved[first:])):
            raise ValueError(
                "all rows of the first batch are equal, and tell nothing of their place"
            )
        raise ValueError("the outputs of the network have no dimension of rows")
    other = evaluate(traced, [place.shifted(slope, rows), *moved])
    found = {}
    for node, value in one.items():
        layout = _layout(value, other[node], rows)
        if layout is not None:
            found[node.name] = layout
    return found, place


def evaluate(traced: fx.GraphModule, inputs: Sequence[Tensor]) -> dict[fx.Node, Any]:
    """Values of all nodes."""
    values: dict[fx.Node, Any] = {}
    given = iter(inputs)
    with torch.no_grad():
        for node in traced.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "get_attr":
                values[node] = getattr(traced, str(node.target))
            elif node.op == "call_function":
                args: Any = fx.map_arg(node.args, values.__getitem__)
                kwargs: Any = fx.map_arg(node.kwargs, values.__getitem__)
                values[node] = node.target(*args, **kwargs)
    return values


def _layout(value: Any, moved: Any, rows: int) -> Layout | None:
    if not isinstance(value, Tensor) or _same(value, moved):
        return None
    for dim, size in enumerate(value.shape):
        for outer in (n for n in range(1, size // rows + 1) if size % (n * rows) == 0):
            layout = Layout(dim, outer, size // (outer * rows))
            if _same(layout.shifted(value, rows), moved):
                return layout
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    return torch.allclose(one, other, rtol=1e-9, atol=1e-9 * float(one.abs().max()) + 1e-300)

"""Rules of operations that rearrange, cut or put together axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from landscape_fast.alignment.axes import Axes, Factors

aten = torch.ops.aten


def shape_of(node: Any) -> tuple[int, ...]:
    """Sizes of the axes of a node's value."""
    value = node.meta["val"]
    return tuple(value.shape)


def result_shapes(node: fx.Node) -> list[tuple[int, ...]]:
    """The same of all its results."""
    value = node.meta["val"]
    return [tuple(part.shape) for part in (value if isinstance(value, tuple | list) else [value])]


def view(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """The same entries in another shape."""
    return factors.regroup(axes_of(node.args[0]), shape_of(node))


def transposed(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """Axes in another order."""
    x = list(axes_of(node.args[0]))
    if node.target is aten.permute.default:
        order: Any = node.args[1]
        return tuple(x[place] for place in order)
    places: Any = (0, 1) if node.target is aten.t.default else node.args[1:3]
    one, other = places
    if len(x) > 1:
        x[one], x[other] = x[other], x[one]
    return tuple(x)


def expand(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """Axes of size 1 are repeated; new ones have no order to keep."""
    x, shape = axes_of(node.args[0]), shape_of(node)
    sizes = (1,) * (len(shape) - len(x)) + shape_of(node.args[0])
    x = ((),) * (len(shape) - len(x)) + x
    return tuple(
        axis if size == wanted else factors.new(wanted)
        for axis, size, wanted in zip(x, sizes, shape, strict=True)
    )


def part_of_axis(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """A slice, or one entry, of an axis: which one is told by its place."""
    x = list(axes_of(node.args[0]))
    place = int(node.args[1]) % len(x)  # type: ignore[arg-type]
    before, after = shape_of(node.args[0]), shape_of(node)
    if len(after) == len(before) and before[place] == after[place]:
        return tuple(x)
    factors.hold([x[place]], f"part of an axis is taken ({node.target})")
    rest = factors.fresh(after[place : place + 1], "part of an axis")
    return (*x[:place], *(rest if len(after) == len(before) else ()), *x[place + 1 :])


def pieces_of_axis(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Any:
    """Equal pieces of an axis are a slow factor of it; unequal ones hold it still."""
    x = list(axes_of(node.args[0]))
    results = result_shapes(node)
    place = int(node.args[-1]) % len(x)  # type: ignore[arg-type]
    if node.target is aten.unbind.int:
        factors.hold([x[place]], "entries of an axis are told apart")
        return [(*x[:place], *x[place + 1 :]) for _ in results]
    sizes = {shape[place] for shape in results}
    if len(sizes) == 1:
        number, inner = factors.new(len(results)), factors.new(sizes.pop())
        factors.join(x[place], (*number, *inner))
        factors.hold([number], "pieces of an axis are told apart")
        return [(*x[:place], inner, *x[place + 1 :]) for _ in results]
    factors.hold([x[place]], "an axis is cut into unequal pieces")
    return [
        (*x[:place], *factors.fresh(shape[place : place + 1], "piece"), *x[place + 1 :])
        for shape in results
    ]


def concatenated(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """Pieces beside each other along an axis, and padding: that axis is held still."""
    parts: Any = node.args[0]
    place = int(node.args[1]) % len(shape_of(node))  # type: ignore[arg-type]
    first = axes_of(parts[0])
    for part in parts:
        for n, (one, other) in enumerate(zip(first, axes_of(part), strict=True)):
            if n == place:
                factors.hold([other], f"an axis is put together ({node.target})")
            else:
                factors.join(one, other)
    whole = factors.fresh(shape_of(node)[place : place + 1], "an axis is put together")
    return (*first[:place], *whole, *first[place + 1 :])


def padded(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """An axis that is padded is held still."""
    x, before, after = axes_of(node.args[0]), shape_of(node.args[0]), shape_of(node)
    out = []
    for axis, size, wanted in zip(x, before, after, strict=True):
        if size != wanted:
            factors.hold([axis], f"an axis is padded ({node.target})")
        out.append(axis if size == wanted else factors.fresh([wanted], "padded axis")[0])
    return tuple(out)


def stacked(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """A new axis over pieces that are alike."""
    parts: Any = node.args[0]
    place = int(node.args[1]) % len(shape_of(node))  # type: ignore[arg-type]
    first = axes_of(parts[0])
    for part in parts[1:]:
        for one, other in zip(first, axes_of(part), strict=True):
            factors.join(one, other)
    return (*first[:place], *factors.fresh([len(parts)], "stacked"), *first[place:])


def squeezed(factors: Factors, node: fx.Node, axes_of: Callable[[Any], Axes]) -> Axes:
    """Axes of size 1 come and go; the others keep their order."""
    sizes = shape_of(node.args[0])
    real = iter([axis for axis, n in zip(axes_of(node.args[0]), sizes, strict=True) if n > 1])
    return tuple(() if size == 1 else next(real) for size in shape_of(node))

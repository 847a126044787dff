"""Programs that say which entries are read, not where these lie in memory.

A program is traced from tensors of one memory format and run on others: a kernel may lay its result
out as it likes, and models of one structure share a program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten


def without_strides(graph: fx.Graph) -> None:
    """Write what a traced ``graph`` does by strides as what it does to entries, in place.

    Views become reshapes, which copy where they must. ``as_strided`` that restates a tensor, as
    pooling of a channels-last image to one place has it, becomes one too; any other gets its
    argument contiguous, as it was traced.

    Raises:
        ValueError: ``as_strided`` reads what was not contiguous.
    """
    for node in graph.nodes:
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default
        elif node.target is aten.as_strided.default:
            source, size, stride, offset = (*node.args, None)[:4]
            if _restates(_value(source), size, stride, offset):
                node.target, node.args = aten.reshape.default, (source, size)
            else:
                _require_contiguous(source)
                with graph.inserting_before(node):
                    dense = graph.call_function(aten.clone.default, (source,))
                dense.kwargs = {"memory_format": torch.contiguous_format}
                dense.meta = dict(source.meta)
                node.args = (dense, *node.args[1:])
        elif node.target is aten.as_strided_scatter.default:
            base, source, size, stride, offset = (*node.args, None)[:5]
            if _restates(_value(base), size, stride, offset):
                node.target = aten.reshape.default
                node.args = (source, list(_value(base).shape))


def _value(node: Any) -> Tensor:
    """What a node held when it was traced, without its entries."""
    value = node.meta["val"]
    assert isinstance(value, Tensor)
    return value


def _restates(x: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None) -> bool:
    """Whether the strides name every entry of x once, in the order of its dimensions."""
    whole = offset in (None, x.storage_offset()) and math.prod(size) == x.numel()
    return whole and _dense(x.shape, x.stride()) and _dense(size, stride)


def _dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether each dimension steps over all of the next ones; those of one place do not count."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _require_contiguous(source: fx.Node) -> None:
    value = _value(source)
    if not value.is_contiguous() or value.storage_offset():
        raise ValueError("as_strided reads a tensor that is not contiguous")

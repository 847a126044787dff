"""Where a loss stops gradients: what the caller detached, told apart from what autograd did itself.

A trace of a gradient is full of detached values, as autograd keeps results for its backward pass
that way. They move with the parameters. What the caller detached is a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.overrides import TorchFunctionMode

from landscape_fast.linearise.structure import map_tensors, tensors

aten = torch.ops.aten

# In a captured program, a detach is the caller's: what is behind it is a constant.
STOPS = frozenset({aten.detach.default})

_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]
_DETACHING = frozenset({torch.detach, torch.Tensor.detach, _DATA})
# Stands for them while a program is traced; traced code has no other use for it.
_MARK = aten.detach_copy.default


class MarkedStops(TorchFunctionMode):
    """Marks what is detached, or computed where gradients are off, from values that need them."""

    def __init__(self) -> None:
        super().__init__()
        self._off = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch._C._set_grad_enabled:
            # Seen when Python asks for it. An autograd Function's forward pass runs without
            # gradients too, and its results do move.
            self._off = not args[0]
        out = func(*args, **(kwargs or {}))
        if (func in _DETACHING or self._off) and _need_gradients((args, kwargs)):
            return map_tensors(marked, out)
        return out


def marked(value: Tensor) -> Tensor:
    """``value``, which has no gradient, as a constant of the trace that is being made."""
    if not (value.is_floating_point() or value.is_complex()) or value.requires_grad:
        return value
    with torch._C.DisableTorchFunction():
        found: Tensor = _MARK(value)
    return found


def _need_gradients(given: Any) -> bool:
    return any(leaf.requires_grad for leaf in tensors(given))


def keep_stops(graph: fx.Graph) -> None:
    """Leave out of a traced ``graph`` every detach that is not the caller's, in place."""
    for node in list(graph.nodes):
        if node.target in STOPS:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target is _MARK:
            node.target = aten.detach.default

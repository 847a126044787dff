"""What a module computes with besides its parameters and buffers: what programs share, and changes.

A trace freezes plain attributes (the slope of a leaky relu, a flag) and tensors that are no buffers
(a mask in an attribute); of a loss that the caller wrote, all that its function refers to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from landscape_fast.linearise.references import references, settings
from landscape_fast.linearise.residency import same_numbers
from landscape_fast.linearise.sharing import PLAIN
from landscape_fast.linearise.structure import tensors

# Of every module, and not about its function; recurrent layers list their parameters again.
_INTERNAL = frozenset({*vars(nn.Module()), "_flat_weights", "_flat_weight_refs"})


class Definition:
    """A module's attributes as they were, to be compared with what they are now.

    Objects that are neither plain nor tensors cannot be compared and are left out.

    Args:
        module: The module.
        buffers: Whether buffers count too.
        function: What it is used with; what that refers to counts too, other modules whole.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        buffers: bool = False,
        function: Callable[..., Any] | None = None,
    ) -> None:
        self._module, self._function = module, function
        self._buffers = buffers
        self._plain, found = self._read()
        self._tensors = [tensor.clone() for tensor in found]

    def changed(self) -> bool:
        """Whether anything is not what it was."""
        plain, found = self._read()
        return plain != self._plain or not same_numbers(found, self._tensors)

    def _read(self) -> tuple[Hashable, list[Tensor]]:
        model = self._module
        plain: list[Hashable] = [_described(model)]
        others = list(_loose(model))
        if self._function is not None:
            for path, value in references(self._function, besides=list(model.modules())):
                if isinstance(value, nn.Module):
                    plain.append((path, _described(value)))
                    others += [*value.parameters(), *value.buffers(), *_loose(value)]
                else:
                    plain.append(_told(path, value))
                    others += tensors(value)
        own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        found = [tensor.detach() for tensor in others if id(tensor) not in own]
        return tuple(plain), [*found, *(model.buffers() if self._buffers else ())]


def _described(module: nn.Module) -> Hashable:
    return tuple(
        (name, type(inner), tuple(_told(key, value) for key, value in _attributes(inner)))
        for name, inner in module.named_modules(remove_duplicate=False)
    )


def _loose(module: nn.Module) -> Iterator[Tensor]:
    """Tensors in attributes of a module and of its submodules."""
    for inner in module.modules():
        for _, value in _attributes(inner):
            yield from tensors(value)


def structure_of(model: nn.Module, more: Hashable) -> Hashable | None:
    """All that a trace of ``model`` depends on but numbers; None if that cannot be told."""
    described: list[Hashable] = [more]
    for name, module in model.named_modules(remove_duplicate=False):
        hooks = module._forward_hooks, module._forward_pre_hooks
        if any((*hooks, module._backward_hooks, module._backward_pre_hooks)):
            return None
        attributes = list(_attributes(module))
        if not all(_is_plain(value) for _, value in attributes):
            return None
        described.append(
            (name, type(module), tuple((key, _plainly(value)) for key, value in attributes))
        )
    for name, tensor in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        described.append(
            (name, tuple(tensor.shape), tensor.dtype, tensor.device, tensor.requires_grad)
        )
    # Names that share one tensor are part of the structure too.
    named = list(model.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    described.extend((name, first.setdefault(id(tensor), name)) for name, tensor in named)
    return tuple(described)


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Of the object and of those classes of it that are the caller's, in a fixed order."""
    own = [(key, value) for key, value in vars(module).items() if key not in _INTERNAL]
    kinds = [k for k in type(module).__mro__ if not k.__module__.startswith(("torch.", "builtins"))]
    of_class = [
        (f"{kind.__qualname__}.{key}", value)
        for kind in kinds
        for key, value in vars(kind).items()
        if not key.startswith("__") and isinstance(value, int | float | complex | str | tuple)
    ]
    yield from sorted([*own, *of_class], key=lambda item: item[0])


def _told(key: str, value: Any) -> Hashable:
    if _is_plain(value):
        return (key, _plainly(value))
    return tuple(
        (path, _plainly(part) if _is_plain(part) else type(part))
        for path, part in settings(key, value)
    )


def _plainly(value: Any) -> Hashable:
    """What tells plain values apart. Functions stand for themselves: an address is used again."""
    if isinstance(value, list | tuple):
        return (type(value), *map(_plainly, value))
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, hash(value.tobytes()))
    return value if hasattr(value, "__qualname__") else (type(value), repr(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    # Functions count by identity.
    return isinstance(value, (*PLAIN, np.generic)) or hasattr(value, "__qualname__")

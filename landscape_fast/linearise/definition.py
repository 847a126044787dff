"""What a module computes besides its parameters and buffers: to share programs, to notice changes.

A trace freezes plain attributes (the slope of a leaky relu, a flag) and tensors that are no buffers
(a mask in an attribute).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from torch import Tensor, nn

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
    """

    def __init__(self, module: nn.Module, *, buffers: bool = False) -> None:
        self._module = module
        self._buffers = buffers
        self._plain = self._described()
        self._tensors = [tensor.detach().clone() for tensor in self._loose()]

    def changed(self) -> bool:
        """Whether anything is not what it was."""
        loose = [tensor.detach() for tensor in self._loose()]
        return self._described() != self._plain or not same_numbers(loose, self._tensors)

    def _described(self) -> Hashable:
        return tuple(
            (name, type(module), tuple(_told(key, value) for key, value in _attributes(module)))
            for name, module in self._module.named_modules(remove_duplicate=False)
        )

    def _loose(self) -> list[Tensor]:
        """Tensors that are neither parameters nor, unless asked for, buffers."""
        known = {id(tensor) for tensor in (*self._module.parameters(), *self._module.buffers())}
        found = [
            tensor
            for module in self._module.modules()
            for _, value in _attributes(module)
            for tensor in tensors(value)
            if id(tensor) not in known
        ]
        return [*found, *self._module.buffers()] if self._buffers else found


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
    return (key, _plainly(value) if _is_plain(value) else type(value))


def _plainly(value: Any) -> Hashable:
    """What tells plain values apart. Functions stand for themselves: an address is used again."""
    if isinstance(value, list | tuple):
        return (type(value), *map(_plainly, value))
    return value if hasattr(value, "__qualname__") else (type(value), repr(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, PLAIN) or hasattr(value, "__qualname__")  # a function, by identity

"""The tensors whose curvature is a penalty."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def trainable(parameters: nn.Module | Iterable[Tensor]) -> list[Tensor]:
    """Those of ``parameters`` that require grad, each once: tied weights are one parameter.

    Raises:
        ValueError: There are none.
        TypeError: It is neither a module nor an iterable of tensors.
    """
    given = parameters.parameters() if isinstance(parameters, nn.Module) else parameters
    if isinstance(given, Tensor) or not isinstance(given, Iterable):
        raise TypeError(f"parameters must be a module or tensors, got one {type(given).__name__}")
    found = list(given)
    for part in found:
        if not isinstance(part, Tensor):
            raise TypeError(f"parameters must hold tensors, got {type(part).__name__}")
    owned = list({id(part): part for part in found if part.requires_grad}.values())
    if not owned:
        raise ValueError("parameters holds no tensor that requires grad")
    return owned

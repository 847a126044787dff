"""Tensors inside the nested batches that loaders yield."""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Any], batch: Any) -> Any:
    """Rebuild ``batch`` with ``function`` applied to every tensor in it.

    Knows dicts and other mappings (``UserDict`` included, which is what tokenizers return), tuples,
    named tuples, lists and dataclasses; anything else is passed through as it is.
    """
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, UserDict):
        rebuilt = copy.copy(batch)
        rebuilt.data = {key: map_tensors(function, item) for key, item in batch.data.items()}
        return rebuilt
    if isinstance(batch, Mapping):
        items = {key: map_tensors(function, item) for key, item in batch.items()}
        return items if type(batch) is dict else type(batch)(items)  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(function, item) for item in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(function, item) for item in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {
            field.name: map_tensors(function, getattr(batch, field.name))
            for field in dataclasses.fields(batch)
            if field.init
        }
        return dataclasses.replace(batch, **fields)
    return batch


def tensors(batch: Any) -> Iterator[Tensor]:
    """Yield every tensor in ``batch``, depth first, in a fixed order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from tensors(item)
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from tensors(item)
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        for field in dataclasses.fields(batch):
            yield from tensors(getattr(batch, field.name))


def constants(batch: Any) -> Iterator[Any]:
    """Yield everything in ``batch`` that is no tensor and no container."""
    if isinstance(batch, Tensor):
        return
    if isinstance(batch, Mapping):
        for item in batch.values():
            yield from constants(item)
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from constants(item)
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        for field in dataclasses.fields(batch):
            yield from constants(getattr(batch, field.name))
    else:
        yield batch


def rows(batch: Any) -> int | None:
    """Leading size that all tensors of ``batch`` share, or None where they differ."""
    sizes = {leaf.shape[0] for leaf in tensors(batch) if leaf.dim() > 0}
    return sizes.pop() if len(sizes) == 1 else None

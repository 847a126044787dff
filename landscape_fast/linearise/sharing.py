"""What is made once and shared by all that have one key: programs and traces."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch

from landscape_fast.linearise.structure import constants, map_tensors

KEPT = 128  # programs or traces; the least recently used one goes first
PLAIN = (int, float, complex, str, bytes, bool, type(None), type, torch.dtype, torch.Size)

Made = TypeVar("Made")


def find_or_make(
    shared: OrderedDict[Hashable, Made],
    key: Hashable | None,
    make: Callable[[], Made],
    general: Callable[[Made], bool],
) -> Made:
    """What is shared under ``key``, or what ``make`` returns.

    Args:
        shared: The most recently used last; changed.
        key: None where nothing may be shared.
        make: Called where nothing is found.
        general: Whether what was made holds nothing of the one model it was made from.
    """
    if key is None:
        return make()
    if key in shared:
        shared.move_to_end(key)
        return shared[key]
    made = make()
    if general(made):
        shared[key] = made
        while len(shared) > KEPT:
            shared.popitem(last=False)
    return made


def kind_of(batch: Any) -> Hashable:
    """What a trace of ``batch`` depends on: tensors by shape and type, all else by value.

    Raises:
        ValueError: The batch holds something that is neither, which a program would freeze.
    """
    for item in constants(batch):
        if not isinstance(item, PLAIN):
            raise ValueError(
                f"the batch holds a {type(item).__name__}, which a program would freeze"
            )
    return repr(map_tensors(lambda leaf: (tuple(leaf.shape), leaf.dtype, leaf.device), batch))

"""How a batch and a block of vectors are cut so that the tangents of a piece fit the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.structure import map_tensors

# Elements of the largest block of tangents of one pass on a CPU, so that it stays in cache, and the
# rows below which convolutions lose more than the cache gives. Fixed, not timed: the cut decides
# the last bits of a sum, and the same call gives the same bits on every run.
CACHED_ELEMENTS = 2**21
FEWEST_ROWS = {"gradient": 16, "value": 8}
# Vectors of one pass: products whose primal values are kept gain from blocks that stay in cache,
# quadratic forms share an adjoint pass. Either way far from the end of memory.
WIDEST_ELEMENTS = {"gradient": 2**20, "value": 2**21}
FEWEST_VECTORS = 2
WIDEST_ON_DEVICE = 2**28
# A network of many values takes shorter passes, as if its largest value were this part of them all:
# then quadratic forms need no more memory than a gradient. Residual networks have about this many.
VALUES = 16


def cut(batch: Any, part: slice) -> Any:
    """Rows ``part`` of every tensor of ``batch``."""
    return map_tensors(lambda leaf: leaf[part] if leaf.dim() else leaf, batch)


def rows_at_once(kind: str, vectors: int, row_elements: int) -> int:
    """Rows of one pass with ``vectors`` tangents per value."""
    return max(FEWEST_ROWS[kind], CACHED_ELEMENTS // (min(vectors, 8) * row_elements))


def vectors_at_once(kind: str, rows: int, row_elements: int, device: torch.device) -> int:
    """Vectors of one pass for ``rows`` rows whose largest value has ``row_elements`` each."""
    elements = WIDEST_ELEMENTS[kind] if device.type == "cpu" else WIDEST_ON_DEVICE
    return max(FEWEST_VECTORS, elements // max(1, rows * row_elements))


def parts(block: Sequence[Tensor], size: int) -> Iterator[list[Tensor]]:
    """At most ``size`` vectors of a block (K, *shape) per parameter at a time."""
    for start in range(0, len(block[0]), size):
        yield [part[start : start + size] for part in block]

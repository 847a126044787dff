"""Mini-batches drawn without replacement from data kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape_fast.linearise.structure import map_tensors, rows, tensors


class Minibatches:
    """Shuffled mini-batches of one size, whatever the batches the data came in.

    Single rows are shuffled where the batches consist of tensors that differ in their leading size
    only. Otherwise (sequences padded per batch, lists of strings) the batches stay as they are and
    their order is shuffled.

    Args:
        batches: The data; held in full.
        size: Rows of a mini-batch. The last one of a pass is smaller, or larger by one row: a
            single row left over joins the mini-batch before it, as BatchNorm cannot train on it.
    """

    def __init__(self, batches: Iterable[Any], size: int) -> None:
        self._size = size
        kept = list(batches)
        self._joined = _joined(kept)
        self._kept = kept if self._joined is None else []

    def shuffled(self, rng: np.random.Generator, limit: int | None = None) -> Iterator[Any]:
        """Yield one pass over the data, or over ``limit`` randomly drawn rows of it."""
        if self._joined is None:
            yield from self._whole_batches(rng, limit)
            return
        leaf = next(tensors(self._joined))
        order = torch.from_numpy(rng.permutation(len(leaf))[:limit]).to(leaf.device)
        chunks = list(order.split(self._size))
        if len(chunks) > 1 and len(chunks[-1]) == 1:
            chunks[-2:] = [torch.cat(chunks[-2:])]
        for chunk in chunks:
            yield _select(self._joined, chunk)

    def _whole_batches(self, rng: np.random.Generator, limit: int | None) -> Iterator[Any]:
        drawn = 0
        for index in rng.permutation(len(self._kept)):
            batch = self._kept[index]
            size = rows(batch) or 0
            if limit is not None and drawn + size > limit:
                yield _first_rows(batch, limit - drawn)
                return
            yield batch
            drawn += size
            if drawn == limit:
                return


def _joined(batches: list[Any]) -> Any | None:
    """All rows as one batch, or None where the batches do not fit together."""
    if not all(_is_table(batch) and rows(batch) for batch in batches):
        return None
    leaves = [list(tensors(batch)) for batch in batches]
    if len({tuple((leaf.shape[1:], leaf.dtype) for leaf in group) for group in leaves}) > 1:
        return None
    columns = iter([torch.cat(column) for column in zip(*leaves, strict=True)])
    return map_tensors(lambda _: next(columns), batches[0])


def _is_table(batch: Any) -> bool:
    """Whether ``batch`` holds nothing but tensors with rows."""
    if isinstance(batch, Tensor):
        return batch.dim() > 0
    items = batch.values() if isinstance(batch, Mapping) else batch
    return isinstance(batch, Mapping | list | tuple) and all(_is_table(item) for item in items)


def _select(batch: Any, chunk: Tensor) -> Any:
    return map_tensors(lambda leaf: leaf.index_select(0, chunk), batch)


def _first_rows(batch: Any, count: int) -> Any:
    return map_tensors(lambda leaf: leaf[:count], batch)

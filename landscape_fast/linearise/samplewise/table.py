"""Rows of a data set by number, whatever batches they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.structure import map_tensors, rows, tensors


class Table:
    """Batches that differ in their number of rows alone.

    Args:
        batches: At least one.

    Attributes:
        rows: Of all batches together.
        kind: What the batches share: all but their number of rows.
    """

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches
        self.kind = _kind(batches[0])
        counts = torch.tensor([rows(batch) or 1 for batch in batches])
        self.rows = int(counts.sum())
        self._ends = counts.cumsum(0)
        self._starts = self._ends - counts

    def take(self, index: Tensor) -> Any:
        """The chosen rows (b,) in order, as one batch."""
        if len(self.batches) == 1:
            return _picked(self.batches[0], index)
        index = index.cpu().contiguous()
        owners = torch.bucketize(index, self._ends, right=True)
        places, parts = [], []
        for owner in owners.unique().tolist():
            mine = (owners == owner).nonzero()[:, 0]
            places.append(mine)
            parts.append(_picked(self.batches[owner], index[mine] - self._starts[owner]))
        back = torch.cat(places).argsort()

        def joined(column: tuple[Tensor, ...]) -> Tensor:
            first = column[0]
            return torch.cat(column)[back.to(first.device)] if first.dim() else first

        leaves = map(joined, zip(*map(tensors, parts), strict=True))
        return map_tensors(lambda _: next(leaves), parts[0])


def _picked(batch: Any, index: Tensor) -> Any:
    return map_tensors(lambda leaf: leaf[index.to(leaf.device)] if leaf.dim() else leaf, batch)


def tables(batches: Iterable[Any], most_bytes: int | None) -> Iterator[Table]:
    """Consecutive batches of one kind together.

    Args:
        batches: The data.
        most_bytes: Of batches that are held together; None where they are in memory anyway.
    """
    group: list[Any] = []
    size, kind = 0, ""
    for batch in batches:
        bytes_, like = sum(leaf.nbytes for leaf in tensors(batch)), _kind(batch)
        full = most_bytes is not None and size + bytes_ > most_bytes
        if group and (like != kind or full):
            yield Table(group)
            group, size = [], 0
        group.append(batch)
        size, kind = size + bytes_, like
    if group:
        yield Table(group)


def _kind(batch: Any) -> str:
    """What batches must share: a tensor without rows is part of it by its value."""
    return repr(
        map_tensors(
            lambda leaf: (tuple(leaf.shape[1:]), leaf.dtype) if leaf.dim() else leaf.item(), batch
        )
    )

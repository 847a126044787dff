"""The exact diagonal of a Gauss-Newton matrix from squared per-sample gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.samplewise.factors import Factors, grouped
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.structure import map_tensors, tensors

OMITTED = 1e-7  # share of the output curvature that may be left out
POOL_BYTES = 2**28  # of batches whose rows are sorted together
PASS_ELEMENTS = 2**19  # of the largest value of one cotangent of all rows of a pass
WIDEST_ELEMENTS = 2**22  # of the largest block of cotangents


@dataclass(frozen=True, slots=True)
class SummedDiagonal:
    """Diagonal of the Gauss-Newton matrix of the summed loss, and what it took."""

    parts: list[Tensor]  # per parameter, in its shape, float64
    omitted: float  # share of the trace of the output curvature that was left out
    cotangents: int  # rows of S^T J that were formed, over all samples


def summed_diagonal(
    network: SampledNetwork,
    space: ParameterSpace,
    batches: Iterable[Any],
    rtol_omitted: float = OMITTED,
    *,
    pooled: bool = True,
) -> SummedDiagonal:
    """Sum over samples and columns s of their output curvature of ``(J^T s)^2``.

    Args:
        network: Gives per-sample gradients.
        space: Its parameters.
        batches: The data, read once.
        rtol_omitted: Directions of the output curvature whose eigenvalues sum to at most this
            share of its trace are left out, the smallest first.
        pooled: Whether batches may be held together, to sort rows across them.
    """
    total = [torch.zeros(shape, dtype=torch.float64, device=space.device) for shape in space.shapes]
    whole, omitted, cotangents = 0.0, 0.0, 0
    for group in _pools(batches, pooled):
        factors = Factors.joined([network.factors(batch) for batch in group])
        data = group[0] if len(group) == 1 else _joined(group)
        values = factors.values.flatten(1)
        weights = values.abs()
        kept = weights > _threshold(weights, rtol_omitted)
        whole, omitted = whole + float(weights.sum()), omitted + float(weights[~kept].sum())
        cotangents += int(kept.sum())
        for sign in (1.0, -1.0):
            chosen = kept & (sign * values > 0)
            if chosen.any():
                parts = [torch.zeros_like(part) for part in total] if sign < 0 else total
                _add(network, data, factors, chosen, parts)
                if sign < 0:
                    for part, negative in zip(total, parts, strict=True):
                        part.sub_(negative)
    return SummedDiagonal(total, omitted / whole if whole > 0 else 0.0, cotangents)


def _threshold(weights: Tensor, share: float) -> float:
    """The weight up to which all may go while they sum to at most ``share`` of the total."""
    ordered, _ = weights.flatten().sort()
    sums = ordered.cumsum(0)
    count = int((sums <= share * sums[-1]).sum())
    return float(ordered[count - 1]) if count else 0.0


def _add(
    network: SampledNetwork, data: Any, factors: Factors, chosen: Tensor, into: list[Tensor]
) -> None:
    """Add the squares of the chosen directions (N, Q * R), rows with like counts together."""
    counts = chosen.sum(1)
    columns = (factors.values.flatten(1).abs() * chosen).argsort(1, descending=True)
    order = counts.argsort(descending=True, stable=True)
    order = order[: int((counts > 0).sum())]
    if network.fast:
        per_row = network.row_elements(data)
        size = min(max(8, PASS_ELEMENTS // per_row), len(counts))
        at_once = max(1, WIDEST_ELEMENTS // (size * per_row))
        template = _rows(data, torch.arange(size, device=counts.device))
        shape = network.output_shape(template)
        places = grouped(shape, network.layout, size, factors.dim).reshape(-1).to(counts.device)
        for start in range(0, len(order), size):
            piece = order[start : start + size]
            # The last piece is filled up with rows that have no direction, for the same program.
            full = torch.cat([piece, piece[:1].expand(size - len(piece))])
            batch = _rows(data, full)
            widest = int(counts[piece].max())
            for first in range(0, widest, at_once):
                block = _block(factors, full, chosen, columns, first, min(first + at_once, widest))
                block[:, len(piece) :] = 0
                flat = torch.empty(len(block), shape.numel(), dtype=block.dtype)
                flat = flat.to(block.device)
                flat[:, places] = block.flatten(1)
                network.add_squares(batch, flat.reshape(-1, *shape), into)
    if len(network.fast) < len(into):
        for row in order:
            one = row[None]
            block = _block(factors, one, chosen, columns, 0, int(counts[row]))
            alone = _rows(data, one)
            shape = network.output_shape(alone)
            places = grouped(shape, network.layout, 1, factors.dim).reshape(-1).to(block.device)
            flat = torch.empty_like(block[:, 0])
            flat[:, places] = block[:, 0]
            network.add_row(alone, flat, into)


def _block(
    factors: Factors, picked: Tensor, chosen: Tensor, columns: Tensor, first: int, last: int
) -> Tensor:
    """Directions ``first`` to ``last`` of the rows ``picked``, zero where a row has fewer."""
    wanted = columns[picked, first:last]
    block = factors.directions(picked, wanted)
    return block * chosen[picked].gather(1, wanted).T[:, :, None]


def _rows(data: Any, index: Tensor) -> Any:
    return map_tensors(lambda leaf: leaf[index] if leaf.dim() else leaf, data)


def _pools(batches: Iterable[Any], pooled: bool) -> Iterator[list[Any]]:
    """Consecutive batches that differ in their number of rows alone."""
    group: list[Any] = []
    size, kind = 0, ""
    for batch in batches:
        bytes_, like = sum(leaf.nbytes for leaf in tensors(batch)), _kind(batch)
        if group and (not pooled or like != kind or size + bytes_ > POOL_BYTES):
            yield group
            group, size = [], 0
        group.append(batch)
        size, kind = size + bytes_, like
    if group:
        yield group


def _kind(batch: Any) -> str:
    return repr(map_tensors(lambda leaf: (tuple(leaf.shape[1:]), leaf.dtype, leaf.dim()), batch))


def _joined(group: list[Any]) -> Any:
    leaves = [torch.cat(parts) for parts in zip(*map(tensors, group), strict=True)]
    replaced = iter(leaves)
    return map_tensors(lambda _: next(replaced), group[0])

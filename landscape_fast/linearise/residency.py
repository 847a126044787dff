"""Values of a program that stay in memory between products.

What tangents read of the primal pass depends on the parameters and the data alone, so iterations
share it. It is kept piece by piece while a budget lasts; the rest is computed again. On a CPU the
first passes of a piece keep nothing: filling fresh memory costs as much as some passes save.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import free_bytes
from landscape_fast.linearise.program import Program
from landscape_fast.linearise.structure import map_tensors

ALIGNED = 64  # bytes: where a value may begin in the memory of a piece
SHARE = 4  # of the free memory that values may take by default: one part in so many
# Passes of a piece before its values are kept. To fill that memory on a CPU costs what one or two
# later passes save (docs/engine.md), and how many are to come nobody knows: after as many passes as
# it costs, keeping is at worst twice as dear as the better choice.
PASSES_BEFORE = {"cpu": 2}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A piece of the data, ready for tangents."""

    program: Program
    inputs: Sequence[Tensor]
    primals: Sequence[Any] | None  # None before they are asked for and where the budget ended
    asked: bool = True  # whether the budget was asked for the primal values
    stays: bool = False  # inputs keep their addresses until numbers of the model change
    graphs: dict[Hashable, Callable[[], None]] = field(default_factory=dict)  # recorded passes
    seen: set[Hashable] = field(default_factory=set)  # passes that ran once


class Residency:
    """Prepared pieces of one model's data, dropped as soon as one of its numbers changes.

    Args:
        model: The module.
        device: Where values are kept.
        budget: Bytes; None for a quarter of what is free there.
    """

    def __init__(self, model: nn.Module, device: torch.device, budget: int | None) -> None:
        self._model = model
        self._budget = free_bytes(device) // SHARE if budget is None else budget
        self._pieces: dict[Hashable, Prepared] = {}
        self._passes: Counter[Hashable] = Counter()
        self._before = PASSES_BEFORE.get(device.type, 0)
        self._numbers: list[Tensor] = []
        self._rows = 0
        self.nbytes = 0

    def refresh(self) -> None:
        """Forget everything if a parameter or buffer is not what it was.

        Numbers are compared, not version counters: ``parameter.data`` changes without one.
        """
        now = [tensor.detach() for tensor in (*self._model.parameters(), *self._model.buffers())]
        if not same_numbers(now, self._numbers):
            self.clear()
            self._numbers = [tensor.clone() for tensor in now]

    def clear(self) -> None:
        """Forget all pieces."""
        self._pieces.clear()
        self._passes.clear()
        self.nbytes = 0

    def get(self, key: Hashable) -> Prepared | None:
        """The piece under ``key``; None if it is new, or its values are to be kept from now on."""
        self._passes[key] += 1
        prepared = self._pieces.get(key)
        if prepared is None or not self._due(key) or prepared.asked:
            return prepared
        return None

    def stop(self) -> bool:
        """Give back all memory and keep no more values; False if none were kept."""
        had = self.nbytes > 0
        self.clear()
        self._budget = 0
        return had

    def keep(
        self, key: Hashable, program: Program, inputs: Sequence[Tensor], rows: int | None
    ) -> Prepared:
        """Prepare a piece: of ``rows`` rows with its primal values while the budget lasts.

        Pieces of another size hold the same values; they make room.
        """
        primals: Sequence[Any] | None = None
        if rows is not None and rows != self._rows:
            self.clear()
            self._rows, self._passes[key] = rows, 1
        asked = rows is None or self._due(key)
        if rows is not None and asked and self.nbytes < self._budget:
            primals = program.primals(inputs)
            size = _nbytes(primals, inputs)
            primals = primals if self.nbytes + size <= self._budget else None
            if primals is not None:
                primals = together(primals, inputs)
                self.nbytes += size
        prepared = Prepared(program, inputs, primals, asked, stays=self._budget > 0)
        self._pieces[key] = prepared
        return prepared

    def _due(self, key: Hashable) -> bool:
        return self._passes[key] > self._before


def same_numbers(now: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Whether two lists hold equal numbers; on an accelerator the host waits for one answer."""
    if [_form(tensor) for tensor in now] != [_form(tensor) for tensor in before]:
        return False
    on_host = all(tensor.device.type == "cpu" for tensor in now)
    return all(map(torch.equal, now, before)) if on_host else _same_at_once(now, before)


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device


def _same_at_once(now: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Few launches and one answer: the difference of two floats is zero only if they are equal."""
    unequal: dict[torch.device, list[Tensor]] = {}
    groups: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
    for one, other in zip(now, before, strict=True):
        if one.is_floating_point():
            groups.setdefault((one.device, one.dtype), []).append((one, other))
        else:
            unequal.setdefault(one.device, []).append((one != other).any())
    for (device, _), pairs in groups.items():
        ones, others = zip(*pairs, strict=True)
        sizes = torch._foreach_norm(torch._foreach_sub(ones, others), 1)
        unequal.setdefault(device, []).append(torch.stack(sizes).ne(0).any())
    return not any(bool(torch.stack(flags).any()) for flags in unequal.values())


def _nbytes(values: Iterable[Any], inputs: Sequence[Tensor]) -> int:
    """Bytes of the memory under ``values`` that is not that of ``inputs``."""
    known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    total = 0
    for value in _flat(values):
        storage = value.untyped_storage()
        if storage.data_ptr() not in known:
            known.add(storage.data_ptr())
            total += storage.nbytes()
    return total


def together(values: Sequence[Any], inputs: Sequence[Tensor]) -> list[Any]:
    """The same values in one piece of memory, but for what lies in that of ``inputs``.

    Scattered over the heap they would keep it from being reused: what every product allocates would
    then be given back and filled with pages anew.
    """
    places: dict[int, int] = {tensor.untyped_storage().data_ptr(): -1 for tensor in inputs}
    storages: list[torch.UntypedStorage] = []
    total = 0
    for value in _flat(values):
        storage = value.untyped_storage()
        if storage.data_ptr() not in places:
            places[storage.data_ptr()] = total
            storages.append(storage)
            total += -(-storage.nbytes() // ALIGNED) * ALIGNED
    if total == 0:
        return list(values)
    memory = torch.empty(total, dtype=torch.uint8, device=storages[0].device)
    for storage in storages:
        place = places[storage.data_ptr()]
        source = torch.empty(0, dtype=torch.uint8, device=memory.device).set_(storage)
        memory[place : place + storage.nbytes()] = source

    def moved(value: Tensor) -> Tensor:
        place = places[value.untyped_storage().data_ptr()]
        if place < 0:
            return value
        offset = place // value.itemsize + value.storage_offset()
        like = torch.empty(0, dtype=value.dtype, device=value.device)
        return like.set_(memory.untyped_storage(), offset, value.shape, value.stride())

    return [map_tensors(moved, value) for value in values]


def _flat(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _flat(value)

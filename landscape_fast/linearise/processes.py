"""The processes that share the data of one measurement, and how they stay in step.

Every process runs the same algorithm on the same vectors; only the data differ. What depends on the
data is summed over the group. A process that fails says so before the next sum, so that the others
raise too and none waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.linearise.batches import MIX

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

SKETCH_SEED = 0x5EED  # of the signs that vectors are compared by
SKETCH_ERROR = 1e-3  # difference of sketches, relative to the norm, that rounding cannot make
CHUNK = 2**22  # numbers of a checksum at once


class Processes:
    """A group of processes, or this one alone.

    Args:
        group: A group of ``torch.distributed`` that this process is in; None for no other process.

    Attributes:
        size: Number of processes.
        rank: Place of this one among them, from 0.

    Raises:
        ValueError: This process is not in the group.
        TypeError: ``group`` is no process group.
    """

    def __init__(self, group: ProcessGroup | None) -> None:
        self._group = group
        self.size, self.rank = 1, 0
        self._device = torch.device("cpu")
        if group is None:
            return
        from torch import distributed  # half a second that few callers need

        given: Any = group
        if given is distributed.GroupMember.NON_GROUP_MEMBER:
            raise ValueError("process_group does not hold this process")
        if not isinstance(group, distributed.ProcessGroup):
            raise TypeError(
                "process_group must be a torch.distributed.ProcessGroup or None, got "
                f"{type(group).__name__}"
            )
        self.size, self.rank = distributed.get_world_size(group), distributed.get_rank(group)
        if distributed.get_backend(group) == "nccl":
            self._device = torch.device("cuda", torch.cuda.current_device())

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace ``tensor`` by its sum over the processes: the same bits in each."""
        return self._reduced(tensor, "SUM")

    def sums(self, *numbers: float) -> tuple[float, ...]:
        """Sums over the processes of each number, in float64."""
        total = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        return tuple(self.sum_(total).tolist())

    def before(self, *counts: int) -> tuple[int, ...]:
        """Sums of each count over the processes of lower rank."""
        if self._group is None:
            return (0,) * len(counts)
        shares = torch.zeros(self.size, len(counts), dtype=torch.int64, device=self._device)
        shares[self.rank] = torch.tensor(counts)
        return tuple(self.sum_(shares)[: self.rank].sum(0).tolist())

    def joined(self, rows: Tensor, first: int, count: int) -> Tensor:
        """The rows (n, c) of all processes, (count, c): those of this one begin at ``first``."""
        if self._group is None:
            return rows
        whole = rows.new_zeros(count, *rows.shape[1:])
        whole[first : first + len(rows)] = rows
        return self.sum_(whole)

    def agree(self, error: Exception | None) -> None:
        """Raise in every process if any has an error.

        Raises:
            Exception: ``error`` itself where it happened.
            RuntimeError: In the other processes; names the rank and the error.
        """
        if self._group is None:
            if error is not None:
                raise error
            return
        self._conclude(error, self._reduced(self._numbers([error is not None]), "MAX"))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block that holds no exchange; if it raises in one process, raise in all."""
        if self._group is None:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        self.agree(error)

    @contextmanager
    def same_vectors(self, vectors: Tensor) -> Iterator[None]:
        """:meth:`together`, and hold the vectors (K, n) of all processes to be the same ones.

        Raises:
            ValueError: They differ, or so many of them: the processes are out of step.
        """
        if self._group is None:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        signs = torch.empty(1, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
        _native.signs_(signs, SKETCH_SEED)
        sketch = float((vectors.double() @ signs[0].double()).sum())
        norm = float(vectors.double().norm())
        here = [error is not None, len(vectors), -len(vectors), sketch, -sketch, norm]
        found = self._reduced(self._numbers(here), "MAX")
        self._conclude(error, found)
        _, most, fewest, high, low, norm = found.tolist()
        if most != -fewest:
            raise ValueError(
                f"processes of the group multiply {-fewest:.0f} to {most:.0f} vectors at once: "
                "every process must make the same calls with the same vectors"
            )
        if high + low > SKETCH_ERROR * norm:
            raise ValueError(
                "processes of the group multiply different vectors: every process must make the "
                "same calls, with the same seed"
            )

    def require_same(self, tensors: Iterable[Tensor], what: str) -> None:
        """Check that all processes hold the same numbers.

        Raises:
            ValueError: They do not; ``what`` says of what.
        """
        if self._group is None:
            return
        parts = [_checksum(tensor) for tensor in tensors]
        total = sum((2 * place + 1) * part for place, part in enumerate(parts)) % 2**64
        # Two halves, as float64 holds 53 bits of a whole number.
        sums = (len(parts), total >> 32, total % 2**32)
        found = self._reduced(
            self._numbers([sign * part for part in sums for sign in (1, -1)]), "MAX"
        )
        if any(high != -low for high, low in found.reshape(-1, 2).tolist()):
            raise ValueError(
                f"{what} differ between the processes of process_group; they must be the same"
            )

    def require_same_numbers(self, what: str, *numbers: int) -> None:
        """:meth:`require_same` for whole numbers."""
        if self._group is not None:
            halves = [half for n in numbers for half in (n >> 32, n % 2**32)]
            self.require_same([torch.tensor(halves)], what)

    def _numbers(self, numbers: Iterable[float]) -> Tensor:
        return torch.tensor([float(n) for n in numbers], dtype=torch.float64, device=self._device)

    def _reduced(self, tensor: Tensor, how: str) -> Tensor:
        if self._group is not None:
            from torch import distributed

            operation = getattr(distributed.ReduceOp, how)
            distributed.all_reduce(tensor, op=operation, group=self._group)
        return tensor

    def _conclude(self, error: Exception | None, status: Tensor) -> None:
        """Raise if the first number of ``status``, the largest over the group, is not zero."""
        if not float(status[0]):
            return
        from torch import distributed

        text = None if error is None else f"{type(error).__name__}: {error}"
        texts: list[str | None] = [None] * self.size
        distributed.all_gather_object(texts, text, group=self._group)
        if error is not None:
            raise error
        rank, first = next((r, text) for r, text in enumerate(texts) if text is not None)
        raise RuntimeError(f"process {rank} of the group failed with {first}")


def _checksum(tensor: Tensor) -> int:
    """Of the bits and their places, a whole number below 2**64."""
    flat = tensor.detach().contiguous().reshape(-1)
    width = min(flat.element_size(), 8)  # a complex number is two
    words = flat.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[width])
    total = 0
    for start in range(0, len(words), CHUNK):
        piece = words[start : start + CHUNK].to(torch.int64)
        places = torch.arange(start + 1, start + len(piece) + 1, device=piece.device) * MIX
        total += int(((piece ^ places) * (2 * places + 1)).sum())
    return total % 2**64

"""The data of a measurement: read once, kept within a memory budget, the same on every pass."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape_fast.arguments import require_whole_or_none
from landscape_fast.linearise.structure import map_tensors, rows, tensors

MIX = -7046029254386353131  # 2**64 / golden ratio as a signed integer: odd, well spread bits


class Batches:
    """The batches of a loader, repeatable.

    The loader is read once. What it yielded is kept on ``device`` while it fits, else on the host,
    so a loader that shuffles or augments gives one fixed data set. A batch without rows counts
    nothing, no layer need take it, and it is left out. The tensors of a plain list are
    kept as they are and copied from any other loader, which may refill them; to change them in
    place between two passes is an error. Data larger than the host budget
    is re-read from the loader on every pass, and every pass is checked to hold the same samples, in
    whatever order.

    Args:
        loader: Iterable of batches. A batch is anything nested that holds tensors.
        device: Where the batches are wanted.
        memory_budget: Bytes that may be kept, on the device or on the host. By default a quarter of
            the free device memory and half of the free host memory.

    Raises:
        ValueError: The loader yields no rows, or a generator exceeds the budget and cannot be
            re-read, or a batch holds no tensor. During iteration: a re-read pass yields other
            samples, or tensors of the list were changed in place.
        TypeError: ``loader`` cannot be iterated, or yields single tensors.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        *,
        device: torch.device | str,
        memory_budget: int | None = None,
    ) -> None:
        require_loader(loader)
        require_whole_or_none(0, memory_budget=memory_budget)
        self.device = torch.device(device)
        self.samples = 0
        self.nbytes = 0  # of what is kept
        self._loader = loader
        self._kept: list[Any] | None = []
        self._read(memory_budget)

    def __len__(self) -> int:
        return self._length

    @property
    def resident(self) -> bool:
        """Whether every pass yields the same batches in the same order, from memory."""
        return self._kept is not None

    def require_resident(self, what: str) -> None:
        """A matrix that depends on the cut into batches needs the same ones on every pass.

        Raises:
            ValueError: They are read anew; ``what`` needs them.
        """
        if not self.resident:
            raise ValueError(
                f"{what} needs the same batches on every pass, but the data are larger than "
                "memory_budget and would be read anew; raise memory_budget"
            )

    def accept(self) -> None:
        """Take what the tensors hold now for the data."""
        self._versions = [_versions(batch) for batch in self._kept or ()]

    def __iter__(self) -> Iterator[Any]:
        if self._kept is not None:
            if [_versions(batch) for batch in self._kept] != self._versions:
                raise ValueError(
                    "loader is a list whose tensors were changed in place since the first pass; "
                    "measure the new data anew"
                )
            for number, batch in enumerate(self._kept):
                yield _moved(batch, self.device)
                self._versions[number] = _versions(batch)  # a loss may overwrite its own batch
            return
        fingerprint, length = 0, 0
        for batch in _filled(self._loader):
            fingerprint, length = fingerprint + _fingerprint(batch), length + 1
            yield _moved(batch, self.device)
        if fingerprint % 2**64 != self._fingerprint:
            raise ValueError(
                f"loader yielded other samples on a later pass ({length} batches, first pass "
                f"{self._length}): it augments or draws anew, and is too large to keep; raise "
                "memory_budget or pass a loader that repeats itself"
            )

    def _read(self, memory_budget: int | None) -> None:
        free = free_bytes(torch.device("cpu"))
        host_budget = free // 2 if memory_budget is None else memory_budget
        size, fingerprint, length = 0, 0, 0
        # A loader may refill its buffers for later batches; a list holds what it holds, unless its
        # class says what it yields.
        refills = type(self._loader) not in (list, tuple)
        # Hashing costs a pass over the bytes, so it starts only when the data are not kept.
        for batch in _filled(self._loader):
            size += sum(leaf.nbytes for leaf in tensors(batch))
            self.samples += rows(batch) or 0
            length += 1
            if self._kept is not None and size > host_budget:
                fingerprint = sum(_fingerprint(kept) for kept in self._kept)
                self._kept = None
            if self._kept is None:
                fingerprint += _fingerprint(batch)
            if self._kept is not None:
                self._kept.append(map_tensors(torch.clone if refills else _own, batch))
        if length == 0:
            raise ValueError("loader is empty: it yielded no batch that holds a row")
        if self._kept is None and iter(self._loader) is self._loader:
            raise ValueError(
                f"loader is a generator of {size} bytes, more than memory_budget ({host_budget}), "
                "and cannot be read again; raise memory_budget or pass a re-iterable loader"
            )
        if self._kept is not None and size <= _device_budget(self.device, memory_budget):
            self._kept = [_moved(batch, self.device) for batch in self._kept]
        self.nbytes = 0 if self._kept is None else size
        self.accept()
        self._fingerprint, self._length = fingerprint % 2**64, length


def require_loader(loader: object, argument: str = "loader") -> None:
    """Refuse what yields no batches.

    Raises:
        TypeError: It cannot be iterated; ``argument`` is what the message calls it.
    """
    if not isinstance(loader, Iterable):
        raise TypeError(f"{argument} must be an iterable of batches, got {type(loader).__name__}")


def _filled(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches that hold a row."""
    for index, batch in enumerate(loader):
        if isinstance(batch, Tensor):
            raise TypeError(
                f"loader must yield batches such as (inputs, targets), but item {index} is a "
                "single tensor; wrap one batch as [(inputs, targets)]"
            )
        for leaf in tensors(batch):
            if leaf.layout != torch.strided:
                raise TypeError(
                    f"loader yields a tensor of layout {leaf.layout} (item {index}), which has no "
                    "rows to cut; pass leaf.to_dense(), or hold a constant one in the model"
                )
        if next(tensors(batch), None) is None:
            raise ValueError(
                f"loader yielded a batch without a tensor (item {index}: {type(batch).__name__})"
            )
        if rows(batch) != 0:
            yield batch


def _own(leaf: Tensor) -> Tensor:
    """A tensor that autograd can save: what inference mode made, it cannot."""
    return leaf.clone() if leaf.is_inference() else leaf


def _versions(batch: Any) -> list[int]:
    return [0 if leaf.is_inference() else leaf._version for leaf in tensors(batch)]


def _moved(batch: Any, device: torch.device) -> Any:
    return map_tensors(lambda leaf: _own(leaf.detach()).to(device), batch)


def _fingerprint(batch: Any) -> int:
    """Hash of the samples that does not depend on their order or on the cut into batches."""
    count = rows(batch)
    leaves = [leaf.detach().to("cpu") for leaf in tensors(batch)]
    if count is None:  # no common rows: the whole batch is one sample
        leaves, count = [leaf.reshape(1, -1) for leaf in leaves], 1
    digest = torch.zeros(count, dtype=torch.int64)
    for leaf in leaves:
        flat = leaf.reshape(count, -1) if leaf.dim() else leaf.expand(count, 1)
        octets = flat.contiguous().view(torch.uint8).reshape(count, -1)
        padded = torch.nn.functional.pad(octets, (0, -octets.shape[1] % 8))
        words = padded.view(torch.int64)
        keys = torch.arange(1, words.shape[1] + 1) * MIX
        digest = (digest * MIX + ((words ^ keys) * (2 * keys + 1)).sum(1)) ^ (digest >> 29)
        digest = digest * MIX
        digest = digest ^ (digest >> 31)
    return int(digest.sum()) % 2**64


def free_bytes(device: torch.device) -> int:
    """Memory of ``device`` that can be had without swapping, the caches of files included."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _device_budget(device: torch.device, memory_budget: int | None) -> int:
    if device.type != "cuda" or memory_budget is not None:
        return memory_budget if memory_budget is not None else 2**62
    return free_bytes(device) // 4

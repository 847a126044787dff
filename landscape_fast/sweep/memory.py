"""How much of a GPU a task needs: measured on the first of its kind, asked for by the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

from landscape_fast.sweep.graph import Task

Gpus = float | Literal["auto"]

_SAFETY = 1.5  # over the peak: blocks of torch's allocator are not filled, and seeds differ
_PROCESS = 2**30  # bytes of a process beside its tensors: CUDA's context, libraries
_PARTS = 16  # of a GPU, to which shares are rounded up


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a GPU, in bytes.

    Example:
        >>> Memory(peak=2**30, total=16 * 2**30).share
        0.1875
    """

    peak: int  # the most that the tensors of a task took
    total: int  # of the device

    @property
    def share(self) -> float:
        """GPUs to ask for: 1.5 times the peak and a GiB, in sixteenths and at most one."""
        needed = (_SAFETY * self.peak + _PROCESS) / self.total
        return min(1.0, math.ceil(_PARTS * needed) / _PARTS)


def metered(device: str) -> Callable[[], Memory | None]:
    """Begin to measure; what is returned tells the peak since then, and nothing on a CPU."""
    import torch  # here, as all workers start with this file and not all of them need it

    if torch.device(device).type != "cuda":
        return lambda: None
    torch.cuda.init()  # there are no statistics before
    torch.cuda.reset_peak_memory_stats(device)

    def peak() -> Memory:
        total = torch.cuda.get_device_properties(device).total_memory
        return Memory(torch.cuda.max_memory_allocated(device), total)

    return peak


class Shares:
    """GPUs to ask for, task by task.

    Args:
        tasks: All tasks of a run; shares that they know from earlier runs hold for their kinds.
        given: GPUs of every task, or ``"auto"``: what the first of its kind was measured to need.

    Example:
        >>> first, second = (Task(name, "train", None, kind="small") for name in "ab")
        >>> shares = Shares([first, second], "auto")
        >>> shares.take(first), shares.take(second)
        (1.0, None)
        >>> shares.ended(first, Memory(peak=2**30, total=16 * 2**30))
        >>> shares.take(second)
        0.1875
    """

    def __init__(self, tasks: Iterable[Task], given: Gpus) -> None:
        self._given = given
        self._known = {task.kind: task.share for task in tasks if task.share is not None}
        self._measured: set[Hashable] = set()  # just now

    def take(self, task: Task) -> float | None:
        """GPUs for a task that may begin; ``None`` while the first of its kind is measured.

        The first of a kind gets a whole one.
        """
        if self._given != "auto":
            return self._given
        if task.kind in self._known:
            return self._known[task.kind]
        if task.kind in self._measured:
            return None
        self._measured.add(task.kind)
        return 1.0

    def ended(self, task: Task, memory: Memory | None) -> None:
        """Learn from the end of a task; without a number the next one is the first of its kind."""
        self._measured.discard(task.kind)
        if memory is not None:
            self._known[task.kind] = max(memory.share, self._known.get(task.kind, 0.0))

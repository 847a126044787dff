"""Work for executors that leaves a trace in a folder: one line in a file for each performance."""

from __future__ import annotations

import errno
import os
import signal
import time
import warnings
from pathlib import Path

from landscape_fast.clock import seconds
from landscape_fast.sweep.graph import Outcome, Task, UnusableError
from landscape_fast.sweep.memory import Memory


def perform(work: tuple[str, Path]) -> Memory | None:
    """Note the errand's name under its folder, then do what the name says."""
    name, folder = work
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    times = len((folder / name).read_text().splitlines())
    if name.startswith("raise"):
        raise ValueError(f"{name} is wrong\nand more")
    if name.startswith("unusable"):
        raise UnusableError("the training diverged")
    if name.startswith("full"):
        raise OSError(errno.ENOSPC, "No space left on device")
    if name.startswith("warn"):
        warnings.warn("mind the gap", stacklevel=1)
    if name.startswith("die-once") and times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("die-always"):
        os._exit(7)
    if name.startswith("sleep"):
        time.sleep(60)
    if name.startswith("nap"):
        time.sleep(5)
    if name.startswith("memory"):
        _use_gpu_memory(enough_on_a_whole_gpu=name.startswith("memory-shared"))
    if name.startswith("share"):
        (folder / f"gpus of {name}").write_text(str(_gpus()))
        return Memory(peak=2 * 2**30, total=16 * 2**30)
    return None


def _use_gpu_memory(*, enough_on_a_whole_gpu: bool) -> None:
    import torch

    if _gpus() < 1.0 or not enough_on_a_whole_gpu:
        raise torch.OutOfMemoryError(f"CUDA out of memory, with {_gpus()} of a GPU")


def _gpus() -> float:
    import ray

    return ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)


def unimportable(work: object) -> None:
    """Fine here; the test removes it from what the worker can import."""


class Log:
    """Observer that remembers."""

    def __init__(self) -> None:
        self.starts: list[str] = []
        self.ends: dict[str, Outcome] = {}
        self.times: list[float] = []  # of the ends

    def started(self, task: Task) -> None:
        self.starts.append(task.id)

    def finished(self, outcome: Outcome) -> None:
        assert outcome.task.id not in self.ends
        self.ends[outcome.task.id] = outcome
        self.times.append(seconds())


def errand(folder: Path, name: str, *needs: str) -> Task:
    """A task that :func:`perform` does."""
    return Task(name, "stage", (name, folder), needs=needs)


def of_every_kind(folder: Path) -> list[Task]:
    """Errands that come to every kind of end, and some that need these."""
    names = ["fine", "raise", "unusable", "warn", "die-once", "die-always"]
    tasks = [errand(folder, name) for name in names]
    tasks += [errand(folder, "after raise", "raise"), errand(folder, "after die", "die-once")]
    return [*tasks, errand(folder, "later", "after raise"), errand(folder, "onward", "unusable")]


def assert_every_end(outcomes: list[Outcome], log: Log, folder: Path) -> None:
    """Hold what an executor said of :func:`of_every_kind`, and what was done, to what is right."""
    assert {o.task.id: o for o in outcomes} == log.ends
    assert {name: outcome.status for name, outcome in log.ends.items()} == {
        "fine": "done",
        "raise": "failed",
        "unusable": "unusable",
        "warn": "done",
        "die-once": "done",
        "die-always": "failed",
        "after raise": "skipped",
        "later": "skipped",
        "onward": "skipped",
        "after die": "done",
    }
    assert log.ends["raise"].message == "ValueError: raise is wrong"
    assert "errands.py" in log.ends["raise"].detail
    assert log.ends["unusable"].message == "the training diverged"
    assert log.ends["warn"].notes == ("mind the gap",)
    assert "\n" not in log.ends["die-always"].message
    assert log.ends["later"].message == "needs raise"
    assert log.ends["fine"].seconds > 0
    counted = {name: performances(folder, name) for name in log.ends}
    assert counted["die-once"] == 2
    assert counted["die-always"] == 3
    assert counted["after raise"] == counted["later"] == counted["onward"] == 0
    assert counted["fine"] == counted["raise"] == 1


def performances(folder: Path, name: str) -> int:
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0

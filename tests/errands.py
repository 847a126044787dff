"""Work for executors that leaves a trace in a folder: one line in a file for each performance."""

from __future__ import annotations

import errno
import os
import signal
import time
import warnings
from pathlib import Path

from landscape_fast.sweep.graph import UnusableError


def perform(work: tuple[str, Path]) -> None:
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


def _use_gpu_memory(*, enough_on_a_whole_gpu: bool) -> None:
    import ray
    import torch

    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
    if share < 1.0 or not enough_on_a_whole_gpu:
        raise torch.OutOfMemoryError(f"CUDA out of memory, with {share} of a GPU")


def unimportable(work: object) -> None:
    """Fine here; the test removes it from what the worker can import."""


def performances(folder: Path, name: str) -> int:
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0

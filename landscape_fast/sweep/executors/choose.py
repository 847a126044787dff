"""From the name of an executor to what runs tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from landscape_fast.sweep.executors.local import run_local
from landscape_fast.sweep.graph import Observer, Outcome, Task
from landscape_fast.sweep.memory import Gpus

Execute = Callable[[Sequence[Task], Callable[[Any], object], Observer], list[Outcome]]


def executor_called(
    name: str, *, workers: int | None, address: str | None, gpus_per_task: Gpus
) -> Execute:
    """Return the executor of this name with its options.

    Raises:
        ValueError: The name is unknown, or an option is not one of this executor's.
        ImportError: Ray is not installed.
    """
    if name == "local":
        if address is not None:
            raise ValueError("address is of a Ray cluster; give --executor ray with it")
        if gpus_per_task:
            raise ValueError("gpus_per_task needs --executor ray, which shares out GPUs")
        return partial(run_local, workers=workers)
    if name == "ray":
        from landscape_fast.sweep.executors.ray import run_ray

        return partial(run_ray, workers=workers, address=address, gpus_per_task=gpus_per_task)
    raise ValueError(f"executor must be local or ray, got {name!r}")

"""Runs tasks on a Ray cluster: Ray places them, starts them again and finds lost nodes."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape_fast.arguments import require_number, require_whole_or_none
from landscape_fast.sweep.executors.local import HaltedError
from landscape_fast.sweep.executors.worker import Reply, perform_once
from landscape_fast.sweep.graph import Observer, Outcome, Schedule, Task
from landscape_fast.sweep.memory import Gpus, Shares

try:
    import ray
    import ray.exceptions
except ImportError as error:
    raise ImportError("executor ray needs Ray: pip install 'landscape_fast[cluster]'") from error

_ATTEMPTS = 3  # starts of one task whose worker or node dies under it
_QUEUED = 2  # tasks given to Ray for each that can run, so that no worker waits for the driver
_LOOK_AGAIN_S = 5.0  # for nodes that joined
_OBJECT_STORE = 100_000_000  # bytes; results go to disk, and only replies through Ray


def run_ray(
    tasks: Sequence[Task],
    perform: Callable[[Any], object],
    observer: Observer,
    *,
    workers: int | None = None,
    address: str | None = None,
    gpus_per_task: Gpus = 0.0,
) -> list[Outcome]:
    """Run tasks on a Ray cluster, one CPU each.

    A task whose worker or node dies is tried three times in all. One that raises is recorded as
    failed at once; what needs it is skipped, the others go on. One that runs out of GPU memory is
    tried once more on a whole GPU, where no other task is. When the driver dies, Ray ends its
    tasks.

    Args:
        tasks: The graph; an empty one needs no cluster.
        perform: Called as ``perform(task.work)`` on a node, so importable there; stores its own
            result, and may return the :class:`~landscape_fast.sweep.memory.Memory` it took.
        observer: Told of starts (of waiting in Ray's queue) and ends, in this process.
        workers: CPUs of the cluster that is started here; default one for each core this process
            may use.
        address: Running cluster to use, or ``"auto"``. By default one is started on this machine,
            and ended with this call.
        gpus_per_task: GPUs of one task; a fraction packs several onto one. ``"auto"``: what the
            first task of its kind took, which has a whole one and is waited for by the others; see
            :class:`~landscape_fast.sweep.memory.Memory`.

    Returns:
        The end of every task, in the order of ending.

    Raises:
        ValueError: ``workers`` is below 1 or given for a running cluster; ``gpus_per_task`` is
            negative, or above 1 and no whole number, or more than any node has.
        HaltedError: A task found the disk full or read-only.
        ConnectionError: There is no cluster at ``address``.
    """
    require_whole_or_none(1, workers=workers)
    if workers is not None and address is not None:
        raise ValueError(f"workers must be left to the running cluster, got {workers}")
    if gpus_per_task != "auto":
        require_number(least=0, gpus_per_task=gpus_per_task)
        if gpus_per_task > 1 and gpus_per_task % 1:
            raise ValueError(
                f"gpus_per_task must be a share up to 1 or a whole number, got {gpus_per_task}"
            )
    if not tasks:
        return []
    with _cluster(address, workers):
        return _Driver(tasks, perform, observer, gpus_per_task).run()


class _Driver:
    def __init__(
        self,
        tasks: Sequence[Task],
        perform: Callable[[Any], object],
        observer: Observer,
        gpus: Gpus,
    ) -> None:
        self._schedule = Schedule(tasks)
        self._observer = observer
        self._shares = Shares(tasks, gpus)
        self._remote = ray.remote(max_retries=_ATTEMPTS - 1, num_cpus=1)(_performed)
        self._perform = perform
        self._here = _Here(str(Path.cwd()), tuple(sys.path))
        self._flying: dict[Any, tuple[Task, float]] = {}  # with the GPUs that it has
        self._outcomes: list[Outcome] = []
        _check_gpus(gpus)

    def run(self) -> list[Outcome]:
        try:
            while self._schedule.unfinished:
                self._submit()
                ready, _ = ray.wait(list(self._flying), timeout=_LOOK_AGAIN_S)
                for reference in ready:
                    self._end(*self._flying.pop(reference), reference)
        except BaseException:
            for reference in self._flying:
                ray.cancel(reference, force=True)
            raise
        return self._outcomes

    def _submit(self) -> None:
        """Give Ray as many tasks as keep its workers busy while the driver is not looking."""
        there = ray.cluster_resources()
        cpus, gpus = (_QUEUED * there.get(kind, 0.0) for kind in ("CPU", "GPU"))
        cpus -= len(self._flying)
        gpus -= sum(share for _, share in self._flying.values())
        waiting = []  # for the first of their kind
        while not self._flying or (cpus > 0 and gpus >= 0):
            task = self._schedule.next()
            if task is None:
                break
            share = self._shares.take(task)
            if share is None:
                waiting.append(task)
                continue
            self._start(task, share)
            cpus -= 1
            gpus -= share
        for task in waiting:
            self._schedule.put_back(task)

    def _start(self, task: Task, gpus: float) -> None:
        sent = self._remote.options(num_gpus=gpus or None)
        # Pickled here: a node can read it only after it knows where modules are.
        content = pickle.dumps((self._perform, task.work))
        self._flying[sent.remote(content, self._here)] = task, gpus
        self._observer.started(task)

    def _end(self, task: Task, gpus: float, reference: Any) -> None:
        reply = _reply(reference)
        if reply.status == "halt":
            raise HaltedError(f"{reply.message}; what is finished is kept")
        if reply.status == "memory" and 0 < gpus < 1:
            self._start(task, 1.0)
            return
        self._shares.ended(task, reply.memory)
        for outcome in self._schedule.ended(reply.as_outcome(task)):
            self._outcomes.append(outcome)
            self._observer.finished(outcome)


def _check_gpus(wanted: Gpus) -> None:
    most = max((node["Resources"].get("GPU", 0.0) for node in ray.nodes()), default=0.0)
    if wanted == "auto" and not most:
        raise ValueError("gpus_per_task is 'auto', but no node has a GPU")
    if wanted != "auto" and wanted > most:
        raise ValueError(f"gpus_per_task is {wanted}, but no node has more than {most:g}")


@dataclass(frozen=True, slots=True)
class _Here:
    """What relative paths and module names mean to the driver."""

    folder: str
    path: tuple[str, ...]


def _performed(content: bytes, here: _Here) -> Reply:
    """Perform a task on a node."""
    if Path(here.folder).is_dir():
        os.chdir(here.folder)
    sys.path += [entry for entry in here.path if entry not in sys.path]
    return perform_once(content, _unpacked)


def _unpacked(content: bytes) -> object:
    perform, work = pickle.loads(content)
    return perform(work)


def _reply(reference: Any) -> Reply:
    """What the task says, or what Ray says about it."""
    try:
        reply: Reply = ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = type(error).__name__.removesuffix("Error")
        message = f"its worker or node died {_ATTEMPTS} times, the last time of {cause}"
        return Reply("failed", message, str(error))
    return reply


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[None]:
    """Be connected to a cluster; one that this process is connected to already is used as it is."""
    if ray.is_initialized():
        yield
        return
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        cpus = workers or len(os.sched_getaffinity(0))
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=_OBJECT_STORE,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()

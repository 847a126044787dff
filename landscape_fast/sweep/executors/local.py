"""Runs tasks in processes of this machine; needs nothing installed and survives killed workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from landscape_fast.arguments import require_whole_or_none
from landscape_fast.sweep.executors.worker import Reply, serve
from landscape_fast.sweep.graph import Observer, Outcome, Schedule, Task

_ATTEMPTS = 3  # starts of one task whose worker dies under it
_FAILED_STARTS = 3  # in a row, before the environment is taken to be broken


class HaltedError(OSError):
    """The machine cannot take further results (full or read-only disk); finished ones are kept."""


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    task: Task | None = None
    ready: bool = False  # it has started up


def run_local(
    tasks: Sequence[Task],
    perform: Callable[[Any], object],
    observer: Observer,
    *,
    workers: int | None = None,
) -> list[Outcome]:
    """Run tasks in long-lived worker processes.

    A task whose worker dies (killed, out of memory) is tried three times in all. One that raises
    is recorded as failed at once; what needs it is skipped, the others go on. When this function
    is left by an exception, Ctrl-C included, no worker survives it.

    Args:
        tasks: The graph; an empty one starts no process.
        perform: Called as ``perform(task.work)`` in a worker, so importable there; stores its own
            result.
        observer: Told of starts and ends, in this process.
        workers: Processes; default one for each core this process may use.

    Returns:
        The end of every task, in the order of ending.

    Raises:
        ValueError: ``workers`` is below 1.
        HaltedError: A task found the disk full or read-only.
        RuntimeError: Worker processes die while they start.
    """
    require_whole_or_none(1, workers=workers)
    pool = _Pool(tasks, perform, observer, workers or len(os.sched_getaffinity(0)))
    try:
        pool.run()
    except BaseException:
        pool.close(kill=True)
        raise
    pool.close(kill=False)
    return pool.outcomes


class _Pool:
    def __init__(
        self,
        tasks: Sequence[Task],
        perform: Callable[[Any], object],
        observer: Observer,
        limit: int,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._schedule = Schedule(tasks)
        self._perform = perform
        self._observer = observer
        self._limit = limit
        self._workers: list[_Worker] = []
        self._deaths: Counter[str] = Counter()
        self._failed_starts = 0

    def run(self) -> None:
        while self._schedule.unfinished:
            self._hand_out()
            talking = wait([worker.connection for worker in self._workers])
            for worker in [each for each in self._workers if each.connection in talking]:
                self._listen(worker)

    def close(self, *, kill: bool) -> None:
        for worker in self._workers:
            if kill:
                worker.process.kill()
            worker.connection.close()  # an idle worker leaves when it sees this
        for worker in self._workers:
            worker.process.join()
            worker.process.close()
        self._workers.clear()

    def _hand_out(self) -> None:
        """Give tasks to idle workers, and start workers for tasks that none is there for."""
        free = [worker for worker in self._workers if worker.task is None]
        while task := self._schedule.next():
            if not free and len(self._workers) < self._limit:
                free.append(self._started())
            if not free:
                self._schedule.put_back(task)
                return
            worker = free.pop()
            worker.task = task
            if worker.ready:
                self._begin(worker)

    def _started(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._perform), daemon=True)
        process.start()
        theirs.close()  # so that the death of the worker closes the pipe
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _begin(self, worker: _Worker) -> None:
        assert worker.task is not None
        try:
            worker.connection.send(worker.task.work)
        except OSError:
            return  # it is dead; the closed pipe will say so
        self._observer.started(worker.task)

    def _listen(self, worker: _Worker) -> None:
        try:
            reply: Reply | None = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if reply is None:
            worker.ready, self._failed_starts = True, 0
            if worker.task is not None:
                self._begin(worker)
            return
        task, worker.task = worker.task, None
        assert task is not None
        if reply.status == "halt":
            raise HaltedError(f"{reply.message}; what is finished is kept")
        self._end(reply.as_outcome(task))

    def _bury(self, worker: _Worker) -> None:
        """Take a dead worker off the list and see to its task."""
        worker.connection.close()
        worker.process.join()
        cause = _cause_of_death(worker.process.exitcode)
        worker.process.close()
        self._workers.remove(worker)
        task = worker.task
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts == _FAILED_STARTS:
                raise RuntimeError(f"worker processes die while they start ({cause})")
            if task is not None:
                self._schedule.put_back(task)
        elif task is not None:
            self._deaths[task.id] += 1
            if self._deaths[task.id] < _ATTEMPTS:
                self._schedule.put_back(task)
            else:
                message = f"its worker died {_ATTEMPTS} times, the last time {cause}"
                self._end(Outcome(task, "failed", message))

    def _end(self, outcome: Outcome) -> None:
        for end in self._schedule.ended(outcome):
            self.outcomes.append(end)
            self._observer.finished(end)


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"of {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"with exit code {exitcode}"

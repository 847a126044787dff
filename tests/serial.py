"""An executor for tests: one task after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from landscape_fast.sweep.executors.local import HaltedError
from landscape_fast.sweep.executors.worker import perform_once
from landscape_fast.sweep.graph import Observer, Outcome, Schedule, Task


class Silent:
    """Observer that does nothing."""

    def started(self, task: Task) -> None:
        pass

    def finished(self, outcome: Outcome) -> None:
        pass


def run_serially(
    tasks: Sequence[Task], perform: Callable[[Any], object], observer: Observer
) -> list[Outcome]:
    schedule, outcomes = Schedule(tasks), []
    while task := schedule.next():
        observer.started(task)
        reply = perform_once(task.work, perform)
        if reply.status == "halt":
            raise HaltedError(reply.message)
        for outcome in schedule.ended(reply.as_outcome(task)):
            outcomes.append(outcome)
            observer.finished(outcome)
    return outcomes

"""Tasks that wait for other tasks: what may run next, and what can no longer run."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Status = Literal["done", "unusable", "failed", "skipped"]


class UnusableError(Exception):
    """Raised by work that is finished and stored, but that nothing further can be built on."""


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work with its place in the graph."""

    id: str
    stage: str
    work: object = field(compare=False)  # argument of the function that performs it; picklable
    needs: tuple[str, ...] = ()  # ids; those of tasks that are not to be run count as done
    after: tuple[str, ...] = ()  # ids that must have ended, well or not
    cost: float = 1.0  # relative duration within its stage; longer ones start first
    kind: Hashable = None  # tasks of one kind need equally much memory of a GPU
    share: float | None = None  # of a GPU, where an earlier run measured it


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    task: Task
    status: Status
    message: str = ""  # one line; empty when done
    detail: str = ""  # traceback of a failure
    notes: tuple[str, ...] = ()  # warnings given meanwhile
    seconds: float = 0.0


class Observer(Protocol):
    """Told what happens to tasks, in the process that runs the executor."""

    def started(self, task: Task) -> None:
        """A worker begins the task, possibly for the second time."""

    def finished(self, outcome: Outcome) -> None:
        """The task ended, or was skipped without having begun."""


class Schedule:
    """Order in which tasks may run: stage by stage, long ones first, none before what it needs.

    Args:
        tasks: All tasks of a run. Stages come in the order in which they first appear.

    Raises:
        ValueError: Two tasks have one id, or tasks need each other in a circle.

    Example:
        >>> train = Task("train", "train", None)
        >>> measure = Task("measure", "measure", None, needs=("train",))
        >>> schedule = Schedule([measure, train])
        >>> schedule.next().id, schedule.next()
        ('train', None)
        >>> [task.id for task in schedule.finish(train, usable=False)]
        ['measure']
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.id: task for task in tasks}
        if len(self._tasks) < len(tasks):
            raise ValueError("two tasks have the same id")
        stages = list(dict.fromkeys(task.stage for task in tasks))
        self._rank = {
            task.id: (stages.index(task.stage), -task.cost, position)
            for position, task in enumerate(tasks)
        }
        self._waits = {
            task.id: {id for id in (*task.needs, *task.after) if id in self._tasks}
            for task in tasks
        }
        self._dependents: dict[str, list[str]] = {}
        for task in tasks:
            for need in self._waits[task.id]:
                self._dependents.setdefault(need, []).append(task.id)
        self._refuse_circles()
        self._ready = [(self._rank[id], id) for id, waits in self._waits.items() if not waits]
        heapq.heapify(self._ready)
        self._open = set(self._tasks)

    @property
    def unfinished(self) -> int:
        """Tasks that have neither ended nor been skipped."""
        return len(self._open)

    def next(self) -> Task | None:
        """Take the next task that may run now; ``None`` when all such tasks are taken."""
        return self._tasks[heapq.heappop(self._ready)[1]] if self._ready else None

    def put_back(self, task: Task) -> None:
        """Return a task that was taken and has to run again."""
        heapq.heappush(self._ready, (self._rank[task.id], task.id))

    def finish(self, task: Task, *, usable: bool) -> list[Task]:
        """Record the end of a task; return the tasks that can now never run.

        Args:
            task: Taken by :meth:`next`.
            usable: Whether tasks that need it may run.
        """
        self._open.discard(task.id)
        skipped = []
        for id in self._dependents.get(task.id, []):
            if id not in self._open:
                continue
            if not usable and task.id in self._tasks[id].needs:
                skipped += [self._tasks[id], *self.finish(self._tasks[id], usable=False)]
                continue
            self._waits[id].discard(task.id)
            if not self._waits[id]:
                heapq.heappush(self._ready, (self._rank[id], id))
        return skipped

    def ended(self, outcome: Outcome) -> list[Outcome]:
        """Record how a task ended; return that with the ends of those that can now never run."""
        skipped = self.finish(outcome.task, usable=outcome.status == "done")
        reason = f"needs {outcome.task.id}"
        return [outcome, *(Outcome(task, "skipped", reason) for task in skipped)]

    def _refuse_circles(self) -> None:
        waits = {id: len(needs) for id, needs in self._waits.items()}
        free = [id for id, count in waits.items() if not count]
        for id in free:
            for dependent in self._dependents.get(id, []):
                waits[dependent] -= 1
                if not waits[dependent]:
                    free.append(dependent)
        if len(free) < len(self._tasks):
            stuck = sorted(set(self._tasks) - set(free))[:3]
            raise ValueError(f"tasks need each other in a circle: {', '.join(stuck)}")

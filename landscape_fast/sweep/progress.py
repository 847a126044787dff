"""How far a run is: counts, rate and time left of each stage. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from landscape_fast.clock import seconds
from landscape_fast.sweep.graph import Outcome, Task


@dataclass(slots=True)
class Stage:
    """Counts of one stage of a run.

    Example:
        >>> stage = Stage("train", total=10, before=4, began=0.0, ended=3)
        >>> stage.finished, stage.rate(now=6.0), stage.seconds_left(now=6.0)
        (7, 0.5, 6.0)
    """

    name: str
    total: int
    before: int = 0  # finished in earlier runs
    ended: int = 0  # in this run, failed and skipped ones included
    failed: int = 0
    skipped: int = 0
    began: float | None = None  # clock of the first start

    @property
    def finished(self) -> int:
        """Tasks that need no further work in this run."""
        return self.before + self.ended

    def rate(self, now: float) -> float | None:
        """Tasks per second since the first start; ``None`` before the first end."""
        ran = self.ended - self.skipped
        if self.began is None or ran == 0 or now <= self.began:
            return None
        return ran / (now - self.began)

    def seconds_left(self, now: float) -> float | None:
        """Time the rest takes at this rate; ``None`` while the rate is unknown."""
        rate = self.rate(now)
        return None if rate is None else (self.total - self.finished) / rate


@dataclass(slots=True)
class Progress:
    """Observer of an executor that keeps the counts.

    Args:
        totals: Tasks of each stage, in order, those of earlier runs included.
        done: Tasks of each stage that earlier runs finished.
        changed: Called after each change with the stage it happened in.
    """

    totals: Mapping[str, int]
    done: Mapping[str, int]
    changed: Callable[[Stage], None]
    stages: dict[str, Stage] = field(init=False)

    def __post_init__(self) -> None:
        self.stages = {
            name: Stage(name, total, before=self.done.get(name, 0))
            for name, total in self.totals.items()
        }

    def started(self, task: Task) -> None:
        """See :class:`~landscape_fast.sweep.graph.Observer`."""
        stage = self.stages[task.stage]
        if stage.began is None:
            stage.began = seconds()
            self.changed(stage)

    def finished(self, outcome: Outcome) -> None:
        """See :class:`~landscape_fast.sweep.graph.Observer`."""
        stage = self.stages[outcome.task.stage]
        stage.ended += 1
        stage.failed += outcome.status == "failed"
        stage.skipped += outcome.status == "skipped"
        self.changed(stage)

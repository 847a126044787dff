"""How far a study is, read off its store: whoever runs it, and wherever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from landscape_fast.clock import timestamp
from landscape_fast.store import Store
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.cost import Timing
from landscape_fast.sweep.graph import Outcome
from landscape_fast.sweep.plan import plan

_WINDOW = timedelta(minutes=10)  # over which a rate is taken


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks of one stage."""

    total: int
    finished: int
    failed: int
    skipped: int  # what they need failed or diverged

    @property
    def left(self) -> int:
        """Tasks that are still to be computed."""
        return self.total - self.finished - self.failed - self.skipped


@dataclass(frozen=True, slots=True)
class Status:
    """State of a study."""

    stages: dict[str, Counts]
    failures: tuple[Outcome, ...]
    task_seconds: float  # of all that is finished
    rate: float | None  # results per second lately; None when none came
    seconds_left: float | None  # at that pace; None when unknown
    latest: str | None  # time of day of the newest result


def status(study: Study, output: Path, store: Store) -> Status:
    """Count what is there. Reads headers, but neither arrays nor checkpoints.

    Args:
        study: The study.
        output: Its folder.
        store: Its results.

    Raises:
        FileNotFoundError: A checkpoint that should be there already is not.
    """
    found = plan(study, output, store, thorough=False)
    finished = Counter(timing.stage for timing in found.timed)
    barred = Counter((outcome.task.stage, outcome.status) for outcome in found.barred)
    left = Counter(task.stage for task in found.tasks)
    stages = {
        stage: Counts(
            total,
            finished=total - left[stage] - barred[stage, "failed"] - barred[stage, "skipped"],
            failed=barred[stage, "failed"],
            skipped=barred[stage, "skipped"],
        )
        for stage, total in found.totals.items()
    }
    mean = {
        stage: sum(t.seconds for t in found.timed if t.stage == stage) / count
        for stage, count in finished.items()
    }
    lately = _lately(found.timed)
    ahead = None
    if all(stage in mean for stage in left):
        ahead = sum(mean[stage] * count for stage, count in left.items())
    span = _span(lately)
    pace = sum(timing.seconds for timing in lately) / span if lately else 0.0
    return Status(
        stages=stages,
        failures=tuple(each for each in found.barred if each.status == "failed"),
        task_seconds=sum(timing.seconds for timing in found.timed),
        rate=len(lately) / span if lately else None,
        seconds_left=ahead / pace if ahead is not None and pace > 0 else None,
        latest=max((timing.written for timing in found.timed), default=None),
    )


def _lately(timings: Sequence[Timing]) -> list[Timing]:
    """What was finished within the last minutes."""
    since = (datetime.fromisoformat(timestamp()) - _WINDOW).isoformat(timespec="seconds")
    return [timing for timing in timings if timing.written >= since]


def _span(lately: Sequence[Timing]) -> float:
    """Seconds in which these came, at least one."""
    if not lately:
        return 1.0
    first = min(datetime.fromisoformat(t.written) - timedelta(seconds=t.seconds) for t in lately)
    now = datetime.fromisoformat(timestamp())
    return max(1.0, min((now - first).total_seconds(), _WINDOW.total_seconds()))

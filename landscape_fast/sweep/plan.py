"""What a study has to compute, and what of it is there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from landscape_fast.store import Store
from landscape_fast.store.failures import Failure
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.cost import Timing
from landscape_fast.sweep.graph import Outcome, Task
from landscape_fast.sweep.groups import grouped
from landscape_fast.sweep.memory import Memory
from landscape_fast.sweep.options import Measure
from landscape_fast.sweep.questions import questions
from landscape_fast.sweep.subjects import Subject, file_sha256, subjects_of
from landscape_fast.sweep.tasks import TOGETHER, TRAIN, Work
from landscape_fast.sweep.weights import with_weights

STAGES = ("train", "measure", "compare")


@dataclass(frozen=True, slots=True)
class Plan:
    """All work of a study and the tasks that are left of it."""

    study: Study
    subjects: tuple[Subject, ...]
    works: tuple[Work, ...]
    tasks: tuple[Task, ...]  # still to run, one for each result
    groups: tuple[Task, ...]  # to run before them: each trains several seeds, which wait for it
    barred: tuple[Outcome, ...]  # not run: it failed in an earlier run, or what it needs did
    timed: tuple[Timing, ...]  # finished work and how long it took
    totals: dict[str, int]  # results of each stage, finished ones included

    @property
    def stages(self) -> dict[str, int]:
        """Tasks of each stage: its results and, before them, what only trains seeds together."""
        return {**({TOGETHER: len(self.groups)} if self.groups else {}), **self.totals}

    @property
    def done(self) -> dict[str, int]:
        """Tasks of each stage that need not run."""
        left = Counter(task.stage for task in self.tasks)
        return {stage: total - left[stage] for stage, total in self.totals.items()}


def plan(
    study: Study,
    output: Path,
    store: Store,
    *,
    part: Callable[[list[Subject]], list[Subject]] = list,
    thorough: bool = True,
) -> Plan:
    """Find out what is left to do.

    Stored results are checked; those that the store refuses, and models whose checkpoint is gone or
    is not the one that was stored, are to be computed again. What failed in an earlier run is not,
    until its failure is forgotten.

    Args:
        study: The study.
        output: Its folder.
        store: Its results.
        part: Chooses the models to plan for; by default all.
        thorough: Whether to read arrays and checkpoints too, in order to check them; else only
            their presence counts.

    Raises:
        FileNotFoundError: See :func:`~landscape_fast.sweep.subjects.subjects_of`.
        ValueError: Likewise.
    """
    subjects = tuple(part(subjects_of(study, output)))
    works = tuple(_works(study.measure, subjects, store.root))
    sorting = _Sorting({(each.key, each.name): each for each in store.failures})
    headers = store.headers((work.address for work in works), arrays=thorough)
    remote = with_weights(store)
    for work, header in zip(works, headers, strict=True):
        if header is not None and work.metric == TRAIN:
            header = header if _intact(work.subjects[0], header, thorough, remote) else None
        sorting.add(work, header)
    groups, tasks = grouped(study, sorting.tasks_with_shares(), sorting.failures)
    totals = Counter(_stage(work) for work in works)
    return Plan(
        study=study,
        subjects=subjects,
        works=works,
        tasks=tasks,
        groups=groups,
        barred=tuple(sorting.barred),
        timed=tuple(sorting.timed),
        totals={stage: totals[stage] for stage in STAGES if totals[stage]},
    )


@dataclass(slots=True)
class _Sorting:
    """Puts each work where it belongs; training comes before what needs it."""

    failures: dict[tuple[str, str], Failure]  # of earlier runs, by address
    tasks: list[Task] = field(default_factory=list)
    barred: list[Outcome] = field(default_factory=list)
    timed: list[Timing] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)  # model -> why
    shares: dict[Hashable, float] = field(default_factory=dict)  # of a GPU, by kind of work

    def add(self, work: Work, header: dict[str, Any] | None) -> None:
        if header is not None:
            self._finished(work, header)
            return
        task = _task(work)
        failure = self.failures.get(work.address)
        obstacle = next((self.unusable[s.key] for s in work.subjects if s.key in self.unusable), "")
        if failure is not None:
            self.barred.append(Outcome(task, "failed", failure.message, failure.detail))
            if work.metric == TRAIN:
                self.unusable[work.subjects[0].key] = f"needs {task.id}"
        elif obstacle:
            self.barred.append(Outcome(task, "skipped", obstacle))
        else:
            self.tasks.append(task)

    def _finished(self, work: Work, header: dict[str, Any]) -> None:
        took, when = (header["provenance"].get(entry) for entry in ("seconds", "written"))
        if isinstance(took, float):
            self.timed.append(Timing(work, _stage(work), took, str(when)))
        if memory := header["provenance"].get("memory"):
            share = Memory(**memory).share
            self.shares[work.kind] = max(share, self.shares.get(work.kind, 0.0))
        if work.metric == TRAIN and header["fields"]["diverged"]:
            self.unusable[work.subjects[0].key] = "the training of its model diverged"

    def tasks_with_shares(self) -> tuple[Task, ...]:
        """What is left, with the share of a GPU that finished work of the same kind took."""
        if not self.shares:
            return tuple(self.tasks)
        return tuple(replace(task, share=self.shares.get(task.kind)) for task in self.tasks)


def _works(measure: Measure, subjects: tuple[Subject, ...], store: Path | str) -> Iterator[Work]:
    """All work, what is needed before what needs it."""
    for subject in subjects:
        if subject.trained:
            yield Work(TRAIN, (subject,), {}, store)
    for metric, models, options in questions(measure, subjects):
        yield Work(metric, models, options, store)


def _stage(work: Work) -> str:
    if work.metric == TRAIN:
        return "train"
    return "measure" if len(work.subjects) == 1 else "compare"


def _task(work: Work) -> Task:
    """The node of the graph; it needs the training of its models."""
    needs = () if work.metric == TRAIN else tuple(_train_id(one) for one in work.subjects)
    recipe = work.subjects[0].recipe
    steps = recipe.epochs / recipe.batch_size
    cost = steps if work.metric == TRAIN else float(recipe.width or 1)
    id = f"{work.key}/{work.metric}"
    return Task(id, _stage(work), work, needs=needs, cost=cost, kind=work.kind)


def _train_id(subject: Subject) -> str:
    return f"{subject.key}/{TRAIN}"


def _intact(
    subject: Subject, header: dict[str, Any], thorough: bool, remote: set[str] | None
) -> bool:
    """Whether the checkpoint is still the one whose training was stored.

    ``remote`` has the models whose weights are with results that lie behind a URL.
    """
    if remote is not None:
        return subject.key in remote
    if not subject.checkpoint.is_file():
        return False
    return not thorough or file_sha256(subject.checkpoint) == header["fields"]["sha256"]

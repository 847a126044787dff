"""What a study has to compute, and what of it is there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from landscape_fast.results import Training
from landscape_fast.store import Store
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.graph import Outcome, Task
from landscape_fast.sweep.options import Measure
from landscape_fast.sweep.questions import questions
from landscape_fast.sweep.subjects import Subject, file_sha256, subjects_of
from landscape_fast.sweep.tasks import TRAIN, Work

STAGES = ("train", "measure", "compare")


@dataclass(frozen=True, slots=True)
class Plan:
    """All work of a study and the tasks that are left of it."""

    study: Study
    subjects: tuple[Subject, ...]
    works: tuple[Work, ...]
    tasks: tuple[Task, ...]  # still to run
    barred: tuple[Outcome, ...]  # tasks that cannot run: their model diverged in an earlier run
    totals: dict[str, int]  # tasks of each stage, finished ones included

    @property
    def done(self) -> dict[str, int]:
        """Tasks of each stage that need not run."""
        left = Counter(task.stage for task in self.tasks)
        return {stage: total - left[stage] for stage, total in self.totals.items()}


def plan(study: Study, output: Path, store: Store) -> Plan:
    """Find out what is left to do.

    Every stored result is read and checked; those that the store refuses, and models whose
    checkpoint is gone or is not the one that was stored, are to be computed again.

    Args:
        study: The study.
        output: Its folder.
        store: Its results.

    Raises:
        FileNotFoundError: See :func:`~landscape_fast.sweep.subjects.subjects_of`.
        ValueError: Likewise.
    """
    subjects = tuple(subjects_of(study, output))
    works = tuple(_works(study.measure, subjects, store.root))
    tasks, barred = [], []
    diverged: set[str] = set()
    for work in works:
        task = _task(work)
        found = store.load(work.key, work.name)
        if work.metric == TRAIN:
            if found is None or not _intact(work.subjects[0], found):
                tasks.append(task)
            elif found.diverged:
                diverged.add(work.subjects[0].key)
        elif found is None:
            if any(subject.key in diverged for subject in work.subjects):
                barred.append(Outcome(task, "skipped", "the training of its model diverged"))
            else:
                tasks.append(task)
    totals = Counter(_stage(work) for work in works)
    return Plan(
        study=study,
        subjects=subjects,
        works=works,
        tasks=tuple(tasks),
        barred=tuple(barred),
        totals={stage: totals[stage] for stage in STAGES if totals[stage]},
    )


def _works(measure: Measure, subjects: tuple[Subject, ...], store: Path) -> Iterator[Work]:
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
    return Task(f"{work.key}/{work.metric}", _stage(work), work, needs=needs, cost=cost)


def _train_id(subject: Subject) -> str:
    return f"{subject.key}/{TRAIN}"


def _intact(subject: Subject, training: Training) -> bool:
    """Whether the checkpoint is still the one whose training was stored."""
    return subject.checkpoint.is_file() and file_sha256(subject.checkpoint) == training.sha256

"""Runs a study: what is missing is computed, what is there is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from landscape_fast.clock import seconds
from landscape_fast.store import Store, StoreProblem, locked
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.executors.local import run_local
from landscape_fast.sweep.graph import Observer, Outcome
from landscape_fast.sweep.plan import Plan, plan
from landscape_fast.sweep.tables import Tables, gather
from landscape_fast.sweep.tasks import perform, rehearse


@dataclass(frozen=True, slots=True)
class Run:
    """What came of running a study."""

    plan: Plan  # as it was at the start
    outcomes: tuple[Outcome, ...]  # of the tasks of this run, and those barred from it
    tables: Tables
    problems: tuple[StoreProblem, ...]  # files that were refused and computed again
    seconds: float

    @property
    def failures(self) -> list[Outcome]:
        """Tasks that raised or whose worker died for good."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]


def run_study(
    study: Study,
    output: Path,
    observe: Callable[[Plan], Observer],
    *,
    workers: int | None = None,
) -> Run:
    """Compute what a study lacks and gather its results.

    Args:
        study: What to compute.
        output: Folder of the study: ``results/`` is the store, ``checkpoints/`` the trained models.
        observe: Called once the work is known; returns who is told of its progress.
        workers: See :func:`~landscape_fast.sweep.executors.local.run_local`.

    Raises:
        ValueError: Another process is running a study in ``output``, or the study asks for
            something impossible.
        FileNotFoundError: Data, or a checkpoint that should be there already, is not.
        ImportError: A library that the data or the model needs is not installed.
        OSError: The disk is full or read-only; finished results are kept.
    """
    start = seconds()
    output.mkdir(parents=True, exist_ok=True)
    with _alone(output):
        store = Store(output / "results")
        store.clean()
        todo = plan(study, output, store)
        if todo.tasks:
            rehearse(todo.subjects[0])
        outcomes = run_local(todo.tasks, perform, observe(todo), workers=workers)
        tables = gather(todo, store)
    return Run(
        plan=todo,
        outcomes=(*todo.barred, *outcomes),
        tables=tables,
        problems=tuple(dict.fromkeys(store.problems)),
        seconds=seconds() - start,
    )


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keep a second driver out of the folder; two would compute the same tasks twice."""
    try:
        with locked(output / ".lock", wait=False):
            yield
    except BlockingIOError as error:
        raise ValueError(f"another process is running a study in {output}") from error

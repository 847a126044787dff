"""Runs a study: what is missing is computed, what is there is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path

from landscape_fast.clock import seconds
from landscape_fast.store import Store, StoreProblem, locked, write_atomically
from landscape_fast.sweep.code import require_same_code
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.cost import NOTHING, Cost, Timing, predict
from landscape_fast.sweep.executors.choose import Execute
from landscape_fast.sweep.executors.local import run_local
from landscape_fast.sweep.graph import Observer, Outcome, Task
from landscape_fast.sweep.plan import Plan, plan
from landscape_fast.sweep.shards import Shard
from landscape_fast.sweep.tasks import Work, perform, rehearse

_URL = "store.url"  # file of a study's folder that says where its results are, if not there


@dataclass(frozen=True, slots=True)
class Run:
    """What came of running a study."""

    plan: Plan  # as it was at the start
    outcomes: tuple[Outcome, ...]  # of the tasks of this run, and those barred from it
    problems: tuple[StoreProblem, ...]  # files that were refused and computed again
    predicted: Cost  # of the tasks of this run, from those finished before
    seconds: float

    @property
    def failures(self) -> list[Outcome]:
        """Tasks that raised or whose worker died for good, in this run or an earlier one."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]


def run_study(
    study: Study,
    output: Path,
    observe: Callable[[Plan], Observer],
    *,
    execute: Execute = run_local,
    store: Store | None = None,
    shard: Shard | None = None,
    device: str = "cpu",
) -> Run:
    """Compute what a study lacks.

    Failures are kept in the store; a later run does not try them again until they are forgotten
    (:func:`forget_failures`).

    Args:
        study: What to compute.
        output: Folder of the study: ``results/`` is the store, ``checkpoints/`` the trained models.
        observe: Called once the work is known; returns who is told of its progress.
        execute: Runs tasks, such as :func:`~landscape_fast.sweep.executors.local.run_local`.
        store: Its results; by default :func:`open_store` of ``output``.
        shard: Part to compute, beside other processes that compute the others; by default all.
        device: Where tasks compute; see :func:`~landscape_fast.sweep.tasks.perform`.

    Raises:
        ValueError: Another process is running the study, or this shard of it, in ``output``, or the
            study asks for something impossible, or code of the caller's that it names has changed
            since results were computed.
        FileNotFoundError: Data, or a checkpoint that should be there already, is not.
        ImportError: A library that the data or the model needs is not installed.
        OSError: The disk is full or read-only; finished results are kept.
    """
    start = seconds()
    output.mkdir(parents=True, exist_ok=True)
    store = open_store(output) if store is None else store
    with _alone(output, shard):
        _remember(store, output)
        if shard is None:
            store.clean()
        todo = plan(study, output, store, part=list if shard is None else shard.choose)
        predicted = NOTHING
        if todo.tasks:
            rehearse(todo.subjects[0])
            require_same_code(output, (subject.recipe for subject in todo.subjects))
            if todo.timed:
                predicted = forecast(todo.timed, todo.tasks)
        performed = partial(perform, device=device)
        tasks = (*todo.groups, *todo.tasks)
        outcomes = execute(tasks, performed, _Recorder(store, observe(todo)))
    return Run(
        plan=todo,
        outcomes=(*todo.barred, *outcomes),
        problems=tuple(dict.fromkeys(store.problems)),
        predicted=predicted,
        seconds=seconds() - start,
    )


def forecast(timed: Sequence[Timing], tasks: Iterable[Task]) -> Cost:
    """Predict the time of all tasks together; see :func:`~landscape_fast.sweep.cost.predict`."""
    return reduce(add, predict(timed, [_work(task) for task in tasks]).values(), NOTHING)


def forget_failures(store: Store) -> int:
    """Let the next run try again what failed; return how many tasks that are."""
    failures = list(store.failures)
    for failure in failures:
        store.failures.forget(failure.key, failure.name)
    return len(failures)


def open_store(output: Path, url: str | None = None) -> Store:
    """Return the store of a study's folder; writes nothing.

    Args:
        output: Folder of the study.
        url: Where the results are to be if not in the folder.

    Raises:
        ValueError: The folder remembers another URL, or holds results already.
    """
    note = output / _URL
    known = note.read_text().strip() if note.is_file() else None
    if url is not None and known is None and (output / "results").is_dir():
        raise ValueError(f"{output} holds results already; they cannot be at {url} too")
    if url is not None and known is not None and url != known:
        raise ValueError(f"the results of {output} are at {known}, not at {url}")
    return Store(url or known or output / "results")


def _remember(store: Store, output: Path) -> None:
    """Note in the folder where its results are, for whoever asks later."""
    if isinstance(store.root, str):
        write_atomically(output / _URL, f"{store.root}\n".encode())


class _Recorder:
    """Keeps failures in the store before it passes them on."""

    def __init__(self, store: Store, observer: Observer) -> None:
        self._store = store
        self._observer = observer

    def started(self, task: Task) -> None:
        self._observer.started(task)

    def finished(self, outcome: Outcome) -> None:
        if outcome.status == "failed":
            address = _work(outcome.task).address
            self._store.failures.record(*address, outcome.message, outcome.detail)
        self._observer.finished(outcome)


def _work(task: Task) -> Work:
    assert isinstance(task.work, Work)
    return task.work


@contextmanager
def _alone(output: Path, shard: Shard | None) -> Iterator[None]:
    """Keep a second driver out of the folder; two would compute the same tasks twice.

    Shards share the folder's lock with one another, and each has one of its own.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(output / ".lock", wait=False, shared=shard is not None))
        except BlockingIOError as error:
            raise ValueError(f"another process is running a study in {output}") from error
        if shard is not None:
            try:
                held.enter_context(locked(output / f".lock-{shard.slug}", wait=False))
            except BlockingIOError as error:
                raise ValueError(f"another process is running shard {shard} in {output}") from error
        yield

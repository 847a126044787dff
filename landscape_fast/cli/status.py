"""How far a study is, from its folder alone."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from landscape_fast.cli.screen import console, duration, show_failures
from landscape_fast.store import Store
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.run import forget_failures, open_store
from landscape_fast.sweep.status import status
from landscape_fast.sweep.study_file import read_study


def study_in(folder: Path) -> tuple[Study, Store]:
    """Return the study that was started in a folder, and its results.

    Raises:
        FileNotFoundError: None was.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no study.yaml; run `landscape-fast study` first")
    return read_study(file), open_store(folder)


def show_status(folder: Path) -> None:
    """Show counts, rate, time left and failures."""
    study, store = study_in(folder)
    found = status(study, folder, store)
    out = console()
    table = Table(box=None)
    table.add_column(study.name)
    for column in ("total", "finished", "left", "failed", "skipped"):
        table.add_column(column, justify="right")
    for stage, counts in found.stages.items():
        numbers = (counts.total, counts.finished, counts.left, counts.failed, counts.skipped)
        table.add_row(stage, *map(str, numbers))
    out.print(table)
    out.print(f"computed: {duration(found.task_seconds)} of tasks, latest {found.latest or 'none'}")
    if any(counts.left for counts in found.stages.values()):
        if found.rate is None:
            out.print("pace:     nothing was finished in the last 10 minutes")
        else:
            left = "unknown" if found.seconds_left is None else duration(found.seconds_left)
            out.print(f"pace:     {60 * found.rate:.3g} results per minute, time left {left}")
    if found.failures:
        out.print(f"{len(found.failures)} tasks failed:", style="bold red")
        show_failures(out, found.failures)


def forget(folder: Path) -> None:
    """Forget the failures of a study and say how many."""
    count = forget_failures(study_in(folder)[1])
    console().print(f"{count} failed tasks are to be tried again")

"""The command ``study``: everything from a study file to its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from landscape_fast.cli.screen import console, counted, duration, phase_grid, stage_display
from landscape_fast.cli.verdict import Verdict, draw, judge
from landscape_fast.clock import seconds, timestamp
from landscape_fast.provenance import provenance
from landscape_fast.store import write_atomically
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.graph import Observer
from landscape_fast.sweep.plan import Plan
from landscape_fast.sweep.progress import Progress
from landscape_fast.sweep.run import Run, run_study
from landscape_fast.sweep.study_file import read_study, study_text

_LINES_SHOWN = 10  # of failures, and of notes


def run(config: Path, output: Path | None, workers: int | None, size: str | None) -> bool:
    """Run a study and show how it ends; return whether tasks failed."""
    start = seconds()
    study = read_study(config, size)
    output = Path("results") / study.name if output is None else output
    out = console()
    progress: list[Progress] = []
    with stage_display(out, lambda: list(progress[0].stages.values())) as show:

        def observe(plan: Plan) -> Observer:
            out.print(_size(plan))
            progress.append(Progress(plan.totals, plan.done, show))
            for stage in progress[0].stages.values():
                show(stage)
            return progress[0]

        done = run_study(study, output, observe, workers=workers)
    _show_notes(out, done)
    as_run = config.read_bytes() if size is None else study_text(study).encode()
    write_atomically(output / "study.yaml", as_run)
    verdict = judge(study, done.tables, output)
    figures = draw(output / "phases.csv", study.grid.knobs, study.plot, output / "figures")
    _summarise(study, done, verdict, output, seconds() - start)
    _show(out, study, done, verdict, figures, output, seconds() - start)
    return bool(done.failures)


def _size(plan: Plan) -> str:
    cells = len({subject.cell for subject in plan.subjects})
    left = len(plan.tasks)
    total = sum(plan.totals.values())
    return f"{plan.study.name}: {cells} cells, {len(plan.subjects)} models, {total} results, " + (
        f"{left} to compute" if left else "all there"
    )


def _summarise(study: Study, done: Run, verdict: Verdict, output: Path, wall: float) -> None:
    """Write ``summary.json``: the outcome of the study, and one entry for each run that worked."""
    path = output / "summary.json"
    runs = _earlier_runs(path)
    if done.plan.tasks:
        ended = [outcome for outcome in done.outcomes if outcome.status != "skipped"]
        runs.append(
            {
                "ended": timestamp(),
                "wall_seconds": round(wall, 2),
                "task_seconds": round(sum(outcome.seconds for outcome in ended), 2),
                "tasks": len(ended),
            }
        )
    found = verdict.probabilities
    content = {
        "study": study.model_dump(mode="json"),
        "thresholds": verdict.thresholds,
        "counts": verdict.counts,
        "bootstrap": None
        if found is None
        else {
            "replicates": found.replicates,
            "maps_with_several_phases": found.several_phases,
            "cells": {name: values.tolist() for name, values in found.cells.items()},
            "probabilities": dict(zip(verdict.counts, found.probabilities.T.tolist(), strict=True)),
        },
        "results": done.plan.totals,
        "failed": [
            {"task": each.task.id, "message": each.message, "detail": each.detail}
            for each in done.failures
        ],
        "skipped": {o.task.id: o.message for o in done.outcomes if o.status == "skipped"},
        "diverged": {o.task.id: o.message for o in done.outcomes if o.status == "unusable"},
        "notes": {o.task.id: list(o.notes) for o in done.outcomes if o.notes},
        "computed_again": [str(problem) for problem in done.problems],
        "runs": runs,
        "provenance": provenance(),
    }
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False).encode())


def _earlier_runs(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text())["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _show(
    out: Console,
    study: Study,
    done: Run,
    verdict: Verdict,
    figures: list[Path],
    output: Path,
    wall: float,
) -> None:
    out.print()
    out.print(phase_grid(verdict.table, *study.grid.knobs))
    out.print()
    out.print(counted(verdict.counts))
    out.print(
        "thresholds: "
        + ", ".join(f"{name} {value:.3g}" for name, value in verdict.thresholds.items())
    )
    if verdict.probabilities is not None:
        found = verdict.probabilities
        out.print(
            f"bootstrap over seeds: {100 * found.several_phases:.0f}% of {found.replicates} "
            "resampled maps show several phases; ? marks phases below 90%"
        )
    _show_failures(out, done)
    out.print(f"tables:  {output}/phases.csv, table.csv, runs.csv, pairs.csv", markup=False)
    out.print(f"figures: {figures[0]} and {len(figures) - 1} more", markup=False)
    out.print(f"time:    {duration(wall)}")


def _show_notes(out: Console, done: Run) -> None:
    """What a reader of the results should know although nothing failed."""
    lines = [f"computed again: {problem}" for problem in done.problems]
    for outcome in done.outcomes:
        lines += [f"{outcome.task.id}: {note}" for note in outcome.notes]
        if outcome.status == "unusable":
            lines.append(f"{outcome.task.id}: {outcome.message}; its cell stays undecided")
    for line in lines[:_LINES_SHOWN]:
        out.print(line, style="yellow", markup=False)
    if len(lines) > _LINES_SHOWN:
        out.print(f"... and {len(lines) - _LINES_SHOWN} more in summary.json", style="yellow")


def _show_failures(out: Console, done: Run) -> None:
    if not done.failures:
        return
    skipped = sum(outcome.status == "skipped" for outcome in done.outcomes)
    out.print(
        f"{len(done.failures)} tasks failed, {skipped} were skipped; "
        "run the same command to try them again:",
        style="bold red",
    )
    for each in done.failures[:_LINES_SHOWN]:
        out.print(f"  {each.task.id}: {each.message}", style="red", markup=False)
    if len(done.failures) > _LINES_SHOWN:
        out.print(f"  ... and {len(done.failures) - _LINES_SHOWN} more in summary.json")

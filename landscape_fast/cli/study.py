"""The command ``study``: everything from a study file to its figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console

from landscape_fast.cli.screen import (
    console,
    cost_text,
    counted,
    duration,
    phase_grid,
    show_failures,
    stage_display,
)
from landscape_fast.cli.verdict import Verdict, draw, judge
from landscape_fast.clock import seconds, timestamp
from landscape_fast.provenance import provenance
from landscape_fast.store import write_atomically
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.cost import Cost
from landscape_fast.sweep.executors.choose import Execute
from landscape_fast.sweep.graph import Observer, Outcome
from landscape_fast.sweep.plan import Plan
from landscape_fast.sweep.progress import Progress
from landscape_fast.sweep.run import Run, open_store, run_study
from landscape_fast.sweep.shards import Shard
from landscape_fast.sweep.study_file import read_study, study_text
from landscape_fast.sweep.tables import gather

_LINES_SHOWN = 10  # of notes


def run(
    config: Path,
    output: Path | None,
    size: str | None,
    *,
    execute: Execute,
    url: str | None = None,
    shard: Shard | None = None,
    device: str = "cpu",
) -> bool:
    """Run a study, or a shard of it, and show how it ends; return whether tasks failed."""
    start = seconds()
    study = read_study(config, size)
    output = folder_of(study, output)
    out = console()
    progress: list[Progress] = []
    with stage_display(out, lambda: list(progress[0].stages.values())) as show:

        def observe(plan: Plan) -> Observer:
            out.print(_size(plan, shard))
            as_run = config.read_bytes() if size is None else study_text(study).encode()
            write_atomically(output / "study.yaml", as_run)
            progress.append(Progress(plan.stages, plan.done, show))
            for stage in progress[0].stages.values():
                show(stage)
            return progress[0]

        store = open_store(output, url)
        done = run_study(
            study, output, observe, execute=execute, store=store, shard=shard, device=device
        )
    _show_notes(out, done)
    if shard is None:
        verdict = judge(study, gather(done.plan, store), output)
        figures = draw(output / "phases.csv", study, output / "figures")
        _summarise(study, done, verdict, output, seconds() - start)
        _show(out, study, verdict)
    _show_failures(out, done, output)
    if shard is None:
        out.print(f"tables:  {output}/phases.csv, table.csv, runs.csv, pairs.csv", markup=False)
        out.print(f"figures: {figures[0]} and {len(figures) - 1} more", markup=False)
    else:
        out.print(f"shard {shard} is done; when all are, the same command without --shard draws")
    _show_time(out, done, seconds() - start)
    return bool(done.failures)


def folder_of(study: Study, output: Path | None) -> Path:
    """Folder of a study, where ``output`` leaves it open."""
    return Path("results") / study.name if output is None else output


def _size(plan: Plan, shard: Shard | None) -> str:
    cells = len({subject.cell for subject in plan.subjects})
    left = len(plan.tasks)
    total = sum(plan.totals.values())
    part = "" if shard is None else f", shard {shard}"
    line = f"{plan.study.name}{part}: {cells} cells, {len(plan.subjects)} models, {total} results, "
    failed = sum(outcome.status == "failed" for outcome in plan.barred)
    line += f"{left} to compute" if left else "all there" if not failed else "none to compute"
    return line + (f", {failed} failed before" if failed else "")


def _summarise(study: Study, done: Run, verdict: Verdict, output: Path, wall: float) -> None:
    """Write ``summary.json``: the outcome of the study, and one entry for each run that worked."""
    path = output / "summary.json"
    runs = _earlier_runs(path)
    if done.plan.tasks:
        ended = _ended(done)
        runs.append(
            {
                "ended": timestamp(),
                "wall_seconds": round(wall, 2),
                "task_seconds": round(_task_seconds(done), 2),
                "predicted_seconds": _predicted(done.predicted),
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


def _ended(done: Run) -> list[Outcome]:
    """Tasks that were performed in this run."""
    before = {outcome.task.id for outcome in done.plan.barred}
    return [o for o in done.outcomes if o.status != "skipped" and o.task.id not in before]


def _task_seconds(done: Run) -> float:
    return sum(outcome.seconds for outcome in _ended(done))


def _predicted(cost: Cost) -> list[float | None] | None:
    """Low end, prediction and high end; nothing where nothing was timed before."""
    if cost.tasks == cost.unknown:
        return None
    return [None if math.isnan(x) else round(x, 2) for x in (cost.low, cost.seconds, cost.high)]


def _show(out: Console, study: Study, verdict: Verdict) -> None:
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


def _show_time(out: Console, done: Run, wall: float) -> None:
    out.print(f"time:    {duration(wall)}")
    if done.predicted.tasks > done.predicted.unknown:
        out.print(
            f"tasks:   {duration(_task_seconds(done))} of computing, predicted were "
            f"{cost_text(done.predicted)}"
        )


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


def _show_failures(out: Console, done: Run, output: Path) -> None:
    if not done.failures:
        return
    skipped = sum(outcome.status == "skipped" for outcome in done.outcomes)
    out.print(
        f"{len(done.failures)} tasks failed, {skipped} were skipped; "
        f"`landscape-fast retry {output} --failed` tries them again:",
        style="bold red",
        markup=False,
    )
    show_failures(out, done.failures)

"""What a study has left and how long that takes, without starting it."""

from __future__ import annotations

import os
from collections import defaultdict
from functools import reduce
from operator import add
from pathlib import Path

from rich.table import Table

from landscape_fast.cli.screen import console, cost_text, duration
from landscape_fast.cli.study import folder_of
from landscape_fast.sweep.cost import NOTHING
from landscape_fast.sweep.graph import Task
from landscape_fast.sweep.plan import plan
from landscape_fast.sweep.run import forecast, open_store
from landscape_fast.sweep.shards import Shard
from landscape_fast.sweep.study_file import read_study


def show_plan(
    config: Path,
    output: Path | None,
    size: str | None,
    *,
    url: str | None,
    shard: Shard | None,
    workers: int | None,
) -> None:
    """Show counts and predicted time of each stage."""
    study = read_study(config, size)
    output = folder_of(study, output)
    part = list if shard is None else shard.choose
    found = plan(study, output, open_store(output, url), part=part, thorough=False)
    tasks: dict[str, list[Task]] = defaultdict(list)
    for task in found.tasks:
        tasks[task.stage].append(task)
    costs = {stage: forecast(found.timed, tasks[stage]) for stage in found.totals}
    total = reduce(add, costs.values(), NOTHING)
    table = Table(box=None)
    for column in ("stage", "tasks", "left", "time"):
        table.add_column(column, justify="right" if column in ("tasks", "left") else "left")
    for stage, count in found.totals.items():
        table.add_row(stage, f"{count}", f"{len(tasks[stage])}", cost_text(costs[stage]))
    out = console()
    out.print(table)
    if total.tasks == 0:
        out.print("nothing is left to compute")
    elif total.tasks == total.unknown:
        out.print("nothing was timed yet: run one part, such as --shard 0/20, then ask again")
    else:
        cells = len({timing.work.subjects[0].cell for timing in found.timed})
        at_a_time = workers or len(os.sched_getaffinity(0))
        out.print(f"left: {cost_text(total)} of computing, one task at a time")
        out.print(f"      {duration(total.seconds / at_a_time)} with {at_a_time} tasks at a time")
        out.print(f"from {len(found.timed)} timed tasks of {cells} cells")

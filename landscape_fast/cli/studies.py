"""The commands about studies and their options; what they need is imported when they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The study file.")]
Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.")]
Executor = Annotated[
    str, typer.Option(metavar="local|ray", help="Processes of this machine, or a Ray cluster.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Tasks at a time. Default: one for each core.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="auto|HOST:PORT", help="Running Ray cluster. Default: starts one here."),
]


def number_or(word: str) -> Callable[[str], float | str]:
    """Return the parser of an option that is a number or ``word``."""

    def parse(text: str) -> float | str:
        try:
            return text if text == word else float(text)
        except ValueError:
            problem = f'must be a number or the word "{word}", got {text!r}'
            raise typer.BadParameter(problem) from None

    return parse


GpusPerTask = Annotated[
    Any,
    typer.Option(
        parser=number_or("auto"),
        metavar="SHARE|auto",
        help="With ray: GPUs of one task, or as much as the first of its kind took. "
        "0 computes on CPUs.",
    ),
]


def study(
    config: Config,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: results/NAME.")
    ] = None,
    workers: Workers = None,
    size: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a file that comes in sizes.")
    ] = None,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_task: GpusPerTask = 0.0,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="For results. Default: in DIR.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this part of the cells, from 0/N on.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what is left and how long it takes; start nothing.")
    ] = False,
) -> None:
    """Train, measure, classify and draw what CONFIG.yaml describes.

    What is finished is kept in DIR and never computed twice, so an interrupted study continues.
    Exit code 1: some tasks failed; 2: the study cannot run as described.
    """
    from landscape_fast.cli.forecast import show_plan
    from landscape_fast.cli.study import run
    from landscape_fast.sweep.executors.choose import executor_called
    from landscape_fast.sweep.shards import Shard

    part = None if shard is None else Shard.parse(shard)
    execute = executor_called(
        executor, workers=workers, address=address, gpus_per_task=gpus_per_task
    )
    if plan:
        show_plan(config, output, size, url=store, shard=part, workers=workers)
    elif run(
        *(config, output, size),
        execute=execute,
        url=store,
        shard=part,
        device="cuda" if gpus_per_task else "cpu",
    ):
        raise typer.Exit(1)


def status(folder: Folder) -> None:
    """Say how far a study is, whoever runs it: counts, rate, time left, failures."""
    from landscape_fast.cli.status import show_status

    show_status(folder)


def retry(
    folder: Folder,
    failed: Annotated[bool, typer.Option("--failed", help="All tasks that failed.")] = False,
    run: Annotated[
        bool, typer.Option(help="Run the study now; else its next run tries them.")
    ] = True,
    workers: Workers = None,
    executor: Executor = "local",
    address: Address = None,
    gpus_per_task: GpusPerTask = 0.0,
) -> None:
    """Forget failures of a study, so that the tasks are tried again."""
    from landscape_fast.cli.status import forget
    from landscape_fast.cli.study import run as run_study
    from landscape_fast.sweep.executors.choose import executor_called

    if not failed:
        raise ValueError("retry needs to know what: give --failed")
    execute = executor_called(
        executor, workers=workers, address=address, gpus_per_task=gpus_per_task
    )
    forget(folder)
    device = "cuda" if gpus_per_task else "cpu"
    if run and run_study(folder / "study.yaml", folder, None, execute=execute, device=device):
        raise typer.Exit(1)


def export(
    folder: Folder,
    to: Annotated[str, typer.Option(metavar="parquet|csv", help="Format.")],
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: STUDY/export.")
    ] = None,
) -> None:
    """Write cells, runs, pairs and tasks of a study, as far as it is, as one table each."""
    from landscape_fast.cli.export import export_tables

    export_tables(folder, to, output)


def report(
    folder: Folder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: STUDY/report.html."),
    ] = None,
) -> None:
    """Write one HTML page about a finished study: figures, tables, recipe, cost, versions."""
    from landscape_fast.report import write_report

    typer.echo(f"report: {write_report(folder, output)}")

"""A study's results as tables for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landscape_fast.cli.screen import console
from landscape_fast.cli.status import study_in
from landscape_fast.study.table import columns_of, write_table
from landscape_fast.sweep.plan import Plan, plan
from landscape_fast.sweep.tables import gather

FORMATS = ("csv", "parquet")


def export_tables(folder: Path, to: str, output: Path | None) -> None:
    """Write ``cells``, ``runs``, ``pairs`` and ``tasks`` under ``output``.

    Raises:
        ValueError: The format is unknown.
        ImportError: Parquet needs pyarrow, which is not installed.
        FileNotFoundError: The folder holds no study.
    """
    if to not in FORMATS:
        raise ValueError(f"to must be one of {', '.join(FORMATS)}, got {to!r}")
    study, store = study_in(folder)
    found = plan(study, folder, store, thorough=False)
    tables = gather(found, store)
    target = folder / "export" if output is None else output
    target.mkdir(parents=True, exist_ok=True)
    out = console()
    for name, rows in (
        ("cells", tables.cells),
        ("runs", tables.runs),
        ("pairs", tables.pairs),
        ("tasks", _tasks(found)),
    ):
        if rows:
            file = target / f"{name}.{to}"
            (write_table if to == "csv" else _write_parquet)(file, rows)
            out.print(f"{file}: {len(rows)} rows", markup=False)


def _tasks(found: Plan) -> list[dict[str, Any]]:
    """One row per task: what it is about, how it stands, what it took."""
    timed = {timing.work.address: timing for timing in found.timed}
    left = {task.work.address: "left" for task in found.tasks}  # type: ignore[attr-defined]
    barred = {outcome.task.work.address: outcome for outcome in found.barred}  # type: ignore[attr-defined]
    rows = []
    for work in found.works:
        key, name = work.address
        timing, end = timed.get(work.address), barred.get(work.address)
        rows.append(
            {
                "key": key,
                "name": name,
                "metric": work.metric,
                **dict(zip(found.study.grid.knobs, work.subjects[0].cell, strict=True)),
                "seeds": " ".join(str(subject.seed) for subject in work.subjects),
                "status": end.status if end else left.get(work.address, "finished"),
                "seconds": timing.seconds if timing else float("nan"),
                "written": timing.written if timing else "",
                "message": end.message if end else "",
            }
        )
    return rows


def _write_parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("parquet needs pyarrow: pip install 'landscape_fast[cluster]'") from error
    pyarrow.parquet.write_table(pyarrow.table(columns_of(rows)), file)

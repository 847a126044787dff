"""The commands that work on tables: ``classify`` and ``plot``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from landscape_fast.cli.screen import console, counted, phase_grid
from landscape_fast.study.table import read_table, write_table
from landscape_fast.study.taxonomy import classify, phase_counts


def classify_table(source: Path, output: Path | None, **options: Any) -> None:
    """Classify the cells of a CSV file, show the map and write the table with its phases."""
    table = classify(read_table(source), **options)
    knobs = options["load"], options["temperature"]
    places = Counter(zip(*(table[knob].tolist() for knob in knobs), strict=True))
    place, rows = places.most_common(1)[0]
    if rows > 1:
        raise ValueError(
            f"{source} has {rows} rows with {', '.join(knobs)} = {place}, and a map has room for "
            "one: give it the cells (phases.csv of a study), not single runs"
        )
    out = console()
    out.print(phase_grid(table, options["load"], options["temperature"]))
    out.print()
    out.print(counted(phase_counts(table)))
    used = ", ".join(
        f"{name} {float(table[f'{name}_threshold'][0]):.3g}"
        for name in ("sharpness", "connectivity", "similarity")
    )
    out.print(f"thresholds: {used}")
    if output is not None:
        write_table(output, table)
        out.print(f"table: {output}", markup=False)


def plot_table(
    source: Path,
    output: Path | None,
    *,
    load: str,
    temperature: str,
    scales: str,
    formats: list[str],
) -> None:
    """Draw a CSV file."""
    from landscape_fast.plots import save_panels

    folder = source.with_name(f"{source.stem}_figures") if output is None else output
    files = save_panels(
        read_table(source),
        folder,
        load=load,
        temperature=temperature,
        scales=scales,  # type: ignore[arg-type]  # save_panels checks it
        formats=formats,
    )
    _list(files)


def plot_study(folder: Path, output: Path | None) -> None:
    """Draw a finished study again, as its study file says."""
    from landscape_fast.cli.verdict import draw
    from landscape_fast.sweep.study_file import read_study

    table = folder / "phases.csv"
    if not table.is_file():
        raise FileNotFoundError(f"{folder} holds no phases.csv; run `landscape-fast study` first")
    study = read_study(folder / "study.yaml")
    _list(draw(table, study, output or folder / "figures"))


def _list(files: list[Path]) -> None:
    out = console()
    for file in files:
        out.print(str(file), markup=False)

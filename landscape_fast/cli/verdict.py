"""From the rows of a study to its files: tables, phases, figures."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from landscape_fast.provenance import package_version
from landscape_fast.store import write_atomically
from landscape_fast.study.bootstrap import PhaseProbabilities, phase_probabilities
from landscape_fast.study.table import Columns, columns_of, read_table, write_table
from landscape_fast.study.taxonomy import classify, phase_counts
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.tables import Tables
from landscape_fast.training.models.registry import width_in_words

# What a tolerance of connectivity rests on: repeated curves of a pair, or else pairs of a cell, of
# which there are standard deviations from three models on.
_SPREADS = ("mc_repeat_std", "mc_train_err_std")
QUANTITIES = ("sharpness", "connectivity", "similarity")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The phases of a study."""

    table: Columns  # cells with their phases, margins and probabilities
    thresholds: dict[str, float]
    counts: dict[str, int]
    probabilities: PhaseProbabilities | None  # None without pairs of models


def judge(study: Study, tables: Tables, output: Path) -> Verdict:
    """Classify the cells and write ``table``, ``runs``, ``pairs`` and ``phases`` as CSV.

    Raises:
        ValueError: A threshold ``data`` was asked of data that hold no two groups.
    """
    for name, rows in (("table", tables.cells), ("runs", tables.runs), ("pairs", tables.pairs)):
        if rows:
            write_table(output / f"{name}.csv", rows)
    options = study.classify
    load, temperature = study.grid.knobs
    classified = classify(
        columns_of(tables.cells),
        load=load,
        temperature=temperature,
        sharpness=f"log_{options.sharpness}",
        similarity=f"{options.similarity}_mean",
        sharpness_threshold=options.sharpness_threshold,
        connectivity_threshold=options.connectivity_threshold,
        similarity_threshold=options.similarity_threshold,
        connectivity_spread=next((name for name in _SPREADS if _known(tables, name)), None),
    )
    thresholds = {name: float(classified[f"{name}_threshold"][0]) for name in QUANTITIES}
    probabilities = None
    if tables.pairs:
        probabilities = phase_probabilities(
            tables.runs,
            tables.pairs,
            load=load,
            temperature=temperature,
            sharpness=options.sharpness,
            similarity=options.similarity,
            sharpness_threshold=thresholds["sharpness"],
            connectivity_threshold=thresholds["connectivity"],
            similarity_threshold=thresholds["similarity"],
            replicates=options.replicates,
            seed=options.seed,
        )
        classified = probabilities.added_to(classified)
    write_table(output / "phases.csv", classified)
    return Verdict(classified, thresholds, phase_counts(classified), probabilities)


def _known(tables: Tables, column: str) -> bool:
    return any(math.isfinite(row[column]) for row in tables.cells)


def draw(table: Path, study: Study, folder: Path) -> list[Path]:
    """Draw a table from its file, unless ``folder`` holds the figures of just this table already.

    Args:
        table: CSV file; with phases, the phase map is drawn too, and with ``pairs.csv`` beside it
            the curves between models.
        study: Names the axes, and says how they are drawn.
        folder: Where to.

    Returns:
        The figures.
    """
    (load, temperature), plot = study.grid.knobs, study.plot
    labels = {"width": width_in_words(study.model)}
    looks = [package_version(), load, temperature, labels, plot.model_dump(mode="json")]
    settings = json.dumps(looks, sort_keys=True).encode()
    pairs = table.with_name("pairs.csv")
    compared = pairs.read_bytes() if pairs.is_file() else b""
    stamp = hashlib.sha256(settings + table.read_bytes() + compared).hexdigest()
    record = folder / "drawn.json"
    files = [folder / name for name in _drawn(record, stamp)]
    if files and all(file.is_file() for file in files):
        return files
    from landscape_fast.plots import save_panels  # matplotlib: a second that most runs can save

    files = save_panels(
        read_table(table),
        folder,
        load=load,
        temperature=temperature,
        hot=plot.hot,
        labels=labels,
        scales=plot.scales,
        pairs=read_table(pairs) if compared else None,
        formats=plot.formats,
        dpi=plot.dpi,
    )
    content = {"stamp": stamp, "files": [file.name for file in files]}
    write_atomically(record, json.dumps(content, indent=1).encode())
    return files


def _drawn(record: Path, stamp: str) -> list[str]:
    """Names of the figures that the record vouches for; none if it is of another table."""
    try:
        content = json.loads(record.read_text())
        return list(content["files"]) if content["stamp"] == stamp else []
    except (OSError, ValueError, KeyError, TypeError):
        return []

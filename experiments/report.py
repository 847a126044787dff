"""Write what was measured into README.md and the pages of studies, or check that they say it.

    python experiments/report.py [--check]
    python experiments/report.py --keep results/NAME ... [--against PUBLISHED.csv]
    python experiments/report.py --predict

The table of experiments is made of the study files and of ``results.json``, which holds what
finished studies cost and showed; tables of cells are made of ``measured/NAME.csv``, their
``phases.csv``. ``--keep`` adds finished studies to both, with ``--against`` also how far their
cells are ordered as those of a published table. ``--predict`` adds the predicted cost of the
previews on colour images that were never finished.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from dataclasses import asdict
from itertools import product
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import markdown

from landscape_fast.report.folder import Folder, Stored, read_folder
from landscape_fast.study.replication import replication
from landscape_fast.study.table import read_table
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.plan import plan
from landscape_fast.sweep.run import open_store
from landscape_fast.sweep.study_file import read_study, sizes_of
from landscape_fast.training.data import Dataset
from landscape_fast.training.recipe import Recipe

HERE = Path(__file__).resolve().parent
README, RESULTS, MEASURED = HERE / "README.md", HERE / "results.json", HERE / "measured"
PAGES = (README, *sorted((HERE.parent / "docs" / "studies").glob("*.md")))
BLOCK = re.compile(
    r"(<!-- (?P<of>experiments|(?P<what>cells|replication) of (?P<study>[\w.-]+)): begin -->\n)"
    r".*?(<!-- (?P=of): end -->)",
    re.DOTALL,
)
ROWS = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257}  # training images
COLUMNS = {  # of a table of cells
    "test_acc_mean": ("test accuracy, percent", ".1f"),
    "train_acc_mean": ("train accuracy, percent", ".1f"),
    "train_loss_mean": ("train loss, nats", ".2g"),
    "log_hessian_trace": ("log trace", ".2f"),
    "mc_train_err": ("mc, points", ".1f"),
    "cka_softmax_mean": ("CKA", ".2f"),
    "phase": ("phase", "s"),
}
HEADS = (
    *("experiment", "command", "models", "preview, two CPU cores", "full, one GPU"),
    *("published", "measured", "output"),
)
SMALL, WHOLE = "preview", "full"


def table(results: dict[str, Any]) -> str:
    """One row per study file."""
    files = sorted(HERE.glob("*.yaml"), key=_order)
    return markdown([HEADS, *(_row(file, results) for file in files)])


def cells(name: str) -> str:
    """One row per cell of a kept study."""
    study = read_study(HERE / f"{name.removesuffix(f'-{SMALL}')}.yaml", SMALL)
    kept = read_table(MEASURED / f"{name}.csv")
    columns = {knob: (knob.replace("_", " "), "g") for knob in study.grid.knobs} | COLUMNS
    rows = [[head for head, _ in columns.values()]]
    values = zip(*(kept[column].tolist() for column in columns), strict=True)
    digits = [form for _, form in columns.values()]
    rows += [[f"{v:{d}}" for v, d in zip(row, digits, strict=True)] for row in values]
    return markdown(rows)


def replicated(name: str, results: dict[str, Any]) -> str:
    """How far the cells of a kept study are ordered as the published ones."""
    rows = [("metric", "cells in both", "rank correlation", "95 % interval")]
    for found in results[name]["replication"]:
        low, high = found["interval"]
        metric, correlation = found["metric"], found["rank_correlation"]
        rows.append(
            (f"`{metric}`", str(found["cells"]), f"{correlation:.2f}", f"{low:.2f} to {high:.2f}")
        )
    return markdown(rows)


def _order(file: Path) -> tuple[bool, bool, str, str]:
    """Figures of the paper before its appendix, what repeats nothing first."""
    paper = read_study(file, next(iter(sizes_of(file)), None)).paper
    figure = paper.figure if paper else ""
    return bool(figure), figure.startswith("Appendix"), figure, file.name


def _row(file: Path, results: dict[str, Any]) -> tuple[str, ...]:
    sizes = sizes_of(file)
    studies = [read_study(file, size) for size in sizes or (None,)]
    small = studies[0]
    shows = f", {small.paper.figure}" if small.paper else ""
    command = f"landscape-fast study experiments/{file.name}"
    command += f" --size {SMALL}" if sizes else ""
    kept = results.get(small.name, {})
    return (
        f"[{file.stem}]({file.name}){shows}",
        f"`{command}`",
        " / ".join(str(_models(study)) for study in studies),
        _cost(kept),
        "not measured" if WHOLE in sizes else "",
        small.paper.finding if small.paper else "",
        kept.get("outcome", "not run"),
        f"`results/{small.name}/`",
    )


def _models(study: Study) -> int:
    grid = study.grid
    return len(grid.load.values) * len(grid.temperature.values) * len(grid.seeds)


def _cost(kept: dict[str, Any]) -> str:
    """Wall time with both cores at work."""
    if "core_hours" not in kept:
        return "not measured"
    return f"{_time(kept['core_hours'] / 2)}, {kept['how']}"


def _time(hours: float) -> str:
    return f"{60 * hours:.0f} minutes" if hours < 1.0 else f"{hours:.1f} hours"


def kept(folder: Path) -> dict[str, Any]:
    """What is kept of a finished study."""
    found = read_folder(folder)
    seconds = sum(each.seconds for each in _of_the_study(folder, found))
    return {
        "core_hours": round(seconds / 3600.0, 4),
        "how": "measured",
        "commit": sorted(found.versions["commit"]),
        "outcome": _outcome(found),
    }


def _of_the_study(folder: Path, found: Folder) -> list[Stored]:
    """Results of the study as it is now; the store may hold more, of earlier options."""
    works = plan(found.study, folder, open_store(folder), thorough=False).works
    addresses = {(work.key, work.name) for work in works}
    return [each for each in found.stored if (each.key, each.name) in addresses]


def _outcome(folder: Folder) -> str:
    """Phases, or the connectivity where none was decided, and the best cell, in words."""
    counts = {name: count for name, count in folder.summary["counts"].items() if count}
    phases = ", ".join(f"{name} {count}" for name, count in counts.items())
    if counts.keys() == {"undecided"}:
        mc = folder.cells["mc_train_err"]
        phases += f", mc from {np.nanmin(mc):.1f} to {np.nanmax(mc):.1f} points"
    accuracy = folder.cells["test_acc_mean"]
    best = int(np.nanargmax(accuracy))
    load, temperature = folder.study.grid.knobs
    return (
        f"cells per phase: {phases}; best test accuracy {accuracy[best]:.1f} percent in "
        f"{folder.cells['phase'][best]} ({load} {folder.cells[load][best]:g}, {temperature} "
        f"{folder.cells[temperature][best]:g})"
    )


def predicted(study: Study) -> dict[str, Any]:
    """Cost of a study of images, from the processor time of a few training steps of every width.

    Curves cost as many passes as their epochs, evaluations a third of a pass; sharpness is put at
    30 passes over its samples and 10 seconds of preparation.
    """
    rows = ROWS[study.data] * len(study.data_options.get("batches", range(5))) / 5
    measure, seconds = study.measure, 0.0
    steps: dict[int | None, float] = {}
    grid, pairs = study.grid, comb(len(study.grid.seeds), 2)
    for load, temperature in product(grid.load.values, grid.temperature.values):
        recipe = study.recipe(load, temperature, grid.seeds[0])
        if recipe.width not in steps:
            steps[recipe.width] = _seconds_per_row(recipe)
        of_data = rows * recipe.fraction * steps[recipe.width]
        assert measure.hessian is not None, study.name
        assert measure.connectivity is not None, study.name
        assert measure.line is not None, study.name
        sharpness = 30 * (measure.hessian.samples or rows) * steps[recipe.width] + 10
        seconds += len(grid.seeds) * (recipe.epochs * of_data + sharpness)
        points = 2 * (measure.connectivity.points + measure.line.points) / 3
        seconds += pairs * (measure.connectivity.epochs + points) * of_data
    return {"core_hours": round(seconds / 3600.0, 2), "how": "predicted"}


def _seconds_per_row(recipe: Recipe) -> float:
    """Processor time of training by one image of 32x32 pixels, on one thread."""
    torch.set_num_threads(1)
    images, labels = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    model = recipe.build_model(Dataset(images, labels, images, labels, classes=10))
    times = []
    for _ in range(5):
        start = time.process_time()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        times.append(time.process_time() - start)
    return min(times) / len(images)


def main() -> str | None:
    """Do what the command line says; return what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", nargs="*", type=Path, default=[])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--predict", action="store_true")
    given = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for folder in given.keep:
        name = read_study(folder / "study.yaml").name
        results[name] = kept(folder)
        MEASURED.mkdir(exist_ok=True)
        shutil.copyfile(folder / "phases.csv", MEASURED / f"{name}.csv")
        if given.against:
            found = replication(read_table(folder / "phases.csv"), read_table(given.against))
            results[name]["replication"] = [asdict(each) for each in found]
    for file in HERE.glob("*.yaml") if given.predict else []:
        study = read_study(file, SMALL if sizes_of(file) else None)
        if study.data in ROWS and results.get(study.name, {}).get("how") != "measured":
            results[study.name] = predicted(study)
    if given.keep or given.predict:
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    stale = []
    for page in PAGES:
        before = page.read_text()
        after = BLOCK.sub(lambda block: _block(block, results), before)
        if after != before and given.check:
            stale.append(str(page.relative_to(HERE.parent)))
        elif after != before:
            page.write_text(after)
    if not stale:
        return None
    return f"{', '.join(stale)}: not what was measured; run: python experiments/report.py"


def _block(block: re.Match[str], results: dict[str, Any]) -> str:
    if block["what"] == "replication":
        text = replicated(block["study"], results)
    else:
        text = cells(block["study"]) if block["study"] else table(results)
    return f"{block[1]}\n{text}\n{block[5]}"


if __name__ == "__main__":
    sys.exit(main())

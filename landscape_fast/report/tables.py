"""The tables of a report: rows of text and numbers under named columns."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape_fast.report.folder import Folder
from landscape_fast.study.findings import findings as ask
from landscape_fast.study.table import Columns
from landscape_fast.training.recipe import Recipe

_CELLS = (  # column of the table of cells, its heading, digits
    ("phase", "phase", ""),
    ("phase_probability", "probability", ".3g"),
    ("margin", "margin", ".3g"),
    ("test_acc_mean", "test accuracy, percent", ".2f"),
    ("test_acc_std", "± between runs", ".2f"),
    ("train_acc_mean", "train accuracy, percent", ".2f"),
    ("train_loss_mean", "train loss, nats", ".3g"),
    ("log_hessian_top_eig", "log top eigenvalue", ".3f"),
    ("log_hessian_trace", "log trace", ".3f"),
    ("mc_train_err", "mc, points", ".2f"),
    ("barrier_train_err", "straight barrier, points", ".2f"),
    ("cka_softmax_mean", "CKA", ".3f"),
    ("l2_distance_mean", "l2 distance", ".3g"),
    ("converged", "converged", ""),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Text, ready for the page."""

    heads: list[str]
    rows: list[list[str]]
    phase: int | None = None  # column that holds phase names


def text_of(value: Any, digits: str = ".6g") -> str:
    """A value of a table as text; nothing where there is none.

    Example:
        >>> text_of(0.123456789), text_of(True), text_of(float("nan")), text_of(3, ".2f")
        ('0.123457', 'yes', '', '3')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return f"{value:{digits}}" if digits else f"{value:.6g}"
    return "" if value is None else str(value)


def whole(columns: Columns) -> Table:
    """All columns of a table, six digits each."""
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    heads = list(columns)
    phase = heads.index("phase") if "phase" in heads else None
    return Table(heads, [[text_of(value) for value in row] for row in rows], phase)


def cells(folder: Folder) -> Table:
    """The columns of the cells that are looked at first, as far as they are there."""
    knobs = [(knob, knob.replace("_", " "), "") for knob in folder.study.grid.knobs]
    shown = [each for each in (*knobs, *_CELLS) if each[0] in folder.cells]
    values = [folder.cells[name].tolist() for name, _, _ in shown]
    rows = [
        [text_of(value, digits) for value, (_, _, digits) in zip(row, shown, strict=True)]
        for row in zip(*values, strict=True)
    ]
    heads = [head for _, head, _ in shown]
    return Table(heads, rows, heads.index("phase") if "phase" in heads else None)


def probabilities(folder: Folder) -> Table | None:
    """How often each cell came out in each phase when its runs were drawn again."""
    found = folder.summary.get("bootstrap")
    if not found:
        return None
    knobs, phases = found["cells"], found["probabilities"]
    columns = [*knobs.values(), *phases.values()]
    rows = [[text_of(value, ".3g") for value in row] for row in zip(*columns, strict=True)]
    return Table([*(name.replace("_", " ") for name in knobs), *phases], rows)


def cost(folder: Folder) -> Table:
    """Hours by stage and kind of result, and of all."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for each in folder.stored:
        groups[each.stage, each.metric].append(each.seconds)
    rows = [[*group, *_hours(times)] for group, times in groups.items()]
    for stage in dict.fromkeys(stage for stage, _ in groups):
        rows.append([stage, "all", *_hours(_of_stage(groups, stage))])
    rows.append(["all", "all", *_hours(t for times in groups.values() for t in times)])
    return Table(["stage", "result", "count", "hours", "mean, s", "longest, s"], rows)


def _of_stage(groups: dict[tuple[str, str], list[float]], stage: str) -> Iterable[float]:
    return (t for (one, _), times in groups.items() if one == stage for t in times)


def _hours(seconds: Iterable[float]) -> list[str]:
    times = list(seconds)
    if not times:
        return ["0", "0", "", ""]
    return [
        str(len(times)),
        f"{sum(times) / 3600.0:.4g}",
        f"{np.mean(times):.3g}",
        f"{max(times):.3g}",
    ]


def findings(folder: Folder) -> Table:
    """What the cells say about each claim of the paper."""
    load, temperature = folder.study.grid.knobs
    rows = []
    for each in ask(folder.cells, load=load, temperature=temperature, settings=_settings(folder)):
        low, high = (text_of(end, ".3g") for end in each.interval)
        effect = f"{text_of(each.effect, '.3g')} {each.unit}" if low else ""
        interval = f"{low} to {high}" if low else ""
        rows.append([each.number, each.claim, each.verdict, each.sentence, effect, interval])
    return Table(["", "claim", "verdict", "this study", "effect", "95 % interval"], rows)


def _settings(folder: Folder) -> dict[str, Any]:
    """Knobs that are the same in all cells."""
    recipe = _first_recipe(folder).model_dump(mode="json")
    return {
        name: value
        for name, value in recipe.items()
        if name not in folder.study.grid.knobs and type(value) in (int, float)
    }


def failures(folder: Folder) -> Table | None:
    """Tasks that failed, were skipped or diverged, each with its reason."""
    said = folder.summary
    rows = [["failed", each["task"], each["message"]] for each in said.get("failed", [])]
    for how in ("diverged", "skipped"):
        rows += [[how, task, message] for task, message in said.get(how, {}).items()]
    return Table(["", "task", "why"], rows) if rows else None


def not_converged(folder: Folder) -> Table | None:
    """Results that missed their tolerance."""
    rows = [[each.metric, each.key] for each in folder.not_converged]
    return Table(["result", "of"], rows) if rows else None


def recipe(folder: Folder) -> Table:
    """What decides a training run; a knob's values where the grid varies it."""
    varied: dict[str, Sequence[Any]] = {
        knob: sorted(set(folder.cells[knob].tolist())) for knob in folder.study.grid.knobs
    }
    seeds = sorted(set(folder.runs["seed"].tolist()))
    one = _first_recipe(folder)
    content = one.model_dump(mode="json") | varied | {"seed": seeds}
    default = {name: field.default for name, field in Recipe.model_fields.items()}
    rows = []
    for name, value in content.items():
        several = name in varied or name == "seed"
        text = ", ".join(text_of(v) for v in value) if several else text_of(value)
        how = "grid" if several else "default" if value == default[name] else "study"
        rows.append([name, text, how])
    return Table(["field", "value", "decided by"], rows)


def _first_recipe(folder: Folder) -> Recipe:
    knobs = (folder.cells[knob].tolist()[0] for knob in folder.study.grid.knobs)
    load, temperature = knobs
    return folder.study.recipe(load, temperature, folder.runs["seed"].tolist()[0])


def versions(folder: Folder) -> Table:
    """With what the results were made."""
    rows = [
        [part, which, str(count)]
        for part, counts in folder.versions.items()
        for which, count in counts.items()
    ]
    return Table(["part", "version", "results"], rows)

"""What the terminal shows: progress while a study runs, and tables at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from landscape_fast.clock import seconds
from landscape_fast.sweep.cost import Cost
from landscape_fast.sweep.graph import Outcome
from landscape_fast.sweep.progress import Stage

_FAILURES_SHOWN = 10
_LINE_EVERY_S = 10.0  # where there is no terminal to redraw
_STYLES = {
    "I": "red",
    "II": "magenta",
    "III": "yellow",
    "IV-A": "cyan",
    "IV-B": "green",
    "undecided": "dim",
}


def console() -> Console:
    """The terminal; without one, lines are not folded and carry no colours."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=1000)


@contextmanager
def stage_display(
    out: Console, stages: Callable[[], Sequence[Stage]]
) -> Iterator[Callable[[Stage], None]]:
    """Show stages while they run: a bar each on a terminal, now and then a line elsewhere.

    Args:
        out: Where to.
        stages: Returns all stages, once they are known.

    Yields:
        What to call with a stage that changed.
    """
    if not out.is_terminal:
        yield _Lines(out)
        return
    bars = Bars(
        TextColumn("  {task.description:<8}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        console=out,
    )
    ids: dict[str, Any] = {}

    def show(stage: Stage) -> None:
        for each in stages() if not ids else [stage]:
            if each.name not in ids:
                ids[each.name] = bars.add_task(each.name, total=each.total, pace="")
            bars.update(ids[each.name], completed=each.finished, pace=_pace(each))

    with bars:
        yield show


class _Lines:
    """Plain lines: at the start and end of a stage, and every ten seconds."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._last: dict[str, float] = {}

    def __call__(self, stage: Stage) -> None:
        now = seconds()
        due = now - self._last.get(stage.name, -_LINE_EVERY_S) >= _LINE_EVERY_S
        if due or stage.finished == stage.total:
            self._last[stage.name] = now
            self._out.print(f"{stage.name:<8} {stage.finished}/{stage.total}  {_pace(stage)}")


def _pace(stage: Stage) -> str:
    """Rate, time left and failures of a stage."""
    now = seconds()
    rate, left = stage.rate(now), stage.seconds_left(now)
    parts = []
    if stage.finished == stage.total:
        parts.append("done" if stage.ended else "done before")
    elif rate is not None and left is not None:
        parts += [f"{rate:.2g}/s" if rate < 10 else f"{rate:.0f}/s", f"{duration(left)} left"]
    parts += [f"{stage.failed} failed"] if stage.failed else []
    parts += [f"{stage.skipped} skipped"] if stage.skipped else []
    return ", ".join(parts)


def duration(length: float) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(7.4), duration(312), duration(7300)
        ('7 s', '5 min 12 s', '2 h 1 min')
    """
    whole = round(length)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def cost_text(cost: Cost) -> str:
    """A predicted time with its range.

    Example:
        >>> cost_text(Cost(tasks=3, seconds=7300.0, low=7000.0, high=9000.0, unknown=1))
        '2 h 1 min (1 h 56 min to 2 h 30 min) without 1 task of a kind not timed yet'
    """
    if cost.tasks == cost.unknown:
        return "unknown" if cost.tasks else "nothing"
    text = duration(cost.seconds)
    if math.isnan(cost.low):
        text += " (range unknown, fewer than three cells timed)"
    else:
        text += f" ({duration(cost.low)} to {duration(cost.high)})"
    if cost.unknown:
        tasks = "1 task" if cost.unknown == 1 else f"{cost.unknown} tasks"
        text += f" without {tasks} of a kind not timed yet"
    return text


def show_failures(out: Console, failures: Sequence[Outcome]) -> None:
    """Show the first failures, a line each."""
    for each in failures[:_FAILURES_SHOWN]:
        out.print(f"  {each.task.id}: {each.message}", style="red", markup=False)
    if len(failures) > _FAILURES_SHOWN:
        out.print(f"  ... and {len(failures) - _FAILURES_SHOWN} more")


def phase_grid(
    table: Mapping[str, Any], load: str, temperature: str, *, certain: float = 0.9
) -> Table:
    """The phases as a text map: one row per temperature, one column per load.

    A phase that came out in fewer than ``certain`` of the resampled maps gets a question mark.
    """
    rows = list(zip(table[temperature].tolist(), table[load].tolist(), strict=True))
    shares = table.get("phase_probability")
    phases = {
        place: (str(phase), shares is None or not shares[i] < certain)
        for i, (place, phase) in enumerate(zip(rows, table["phase"].tolist(), strict=True))
    }
    loads = sorted({place[1] for place in rows})
    grid = Table(box=None)
    grid.add_column(f"{temperature} \\ {load}", justify="right", style="bold")
    for value in loads:
        grid.add_column(f"{value:g}", justify="right")
    for value in sorted({place[0] for place in rows}):
        cells = []
        for other in loads:
            phase, sure = phases.get((value, other), ("", True))
            label = {"undecided": "-"}.get(phase, phase) + ("" if sure else "?")
            cells.append(Text(label, style=_STYLES.get(phase, "")))
        grid.add_row(f"{value:g}", *cells)
    return grid


def counted(counts: Mapping[str, int]) -> Text:
    """How many cells each phase has, in one line."""
    line = Text()
    for phase, count in counts.items():
        if count or phase != "undecided":
            line.append(f"{phase} ", style=_STYLES.get(phase, ""))
            line.append(f"{count}   ")
    line.rstrip()
    return line

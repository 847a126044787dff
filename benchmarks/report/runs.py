"""The results that are committed, and how a table says where its numbers come from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Measured:
    """One benchmark on one machine, as last run there."""

    source: str  # file of the benchmark
    name: str  # without "test_" and without parameters
    case: str  # its parameters as pytest writes them
    machine: str  # sentence
    run: str  # date and commit
    seconds: float  # median
    extra: dict[str, Any]
    gpu: bool


def newest() -> list[Measured]:
    """Every benchmark once per machine, the newest run of each, in the order of the files."""
    found: dict[tuple[str, str, str], tuple[str, Measured]] = {}
    for path in sorted(RESULTS.glob("*/*.json")):
        content = json.loads(path.read_text())
        for one in read(content):
            key = (f"{one.source}::{one.name}", one.case, one.machine)
            when = content.get("datetime", "")
            if key not in found or found[key][0] <= when:
                found[key] = when, one
    return [one for _, one in found.values()]


def read(content: dict[str, Any]) -> list[Measured]:
    """The benchmarks of one file that pytest-benchmark wrote; of another file, none."""
    return [_measured(content, entry) for entry in content.get("benchmarks", ())]


def _measured(content: dict[str, Any], entry: dict[str, Any]) -> Measured:
    info, extra = content["machine_info"], entry["extra_info"]
    name, _, case = entry["name"].removeprefix("test_").partition("[")
    gpu = extra.get("gpu")
    machine = (
        f"{gpu or info['cpu']['brand_raw']}, {info['cpu']['count']} cores, "
        f"{extra.get('threads', '?')} threads, Python {info['python_version']}, "
        f"torch {extra.get('torch', '?')}"
    )
    return Measured(
        source=Path(entry["fullname"].split("::")[0]).name,
        name=name,
        case=case.removesuffix("]"),
        machine=machine,
        run=f"{content['datetime'][:10]}, commit {content['commit_info']['id'][:7]}",
        seconds=entry["stats"]["median"],
        extra=extra,
        gpu=gpu is not None,
    )


def by_machine(measured: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Results of one machine together."""
    groups: dict[str, list[Measured]] = {}
    for one in measured:
        groups.setdefault(one.machine, []).append(one)
    return groups


def origin(measured: Iterable[Measured]) -> str:
    """One sentence on where numbers of one machine come from."""
    several = list(measured)
    runs = sorted({one.run for one in several})
    return f"{several[0].machine}; {'; '.join(runs)}."


def part(ratio: dict[str, float] | None) -> str:
    """Our time as a part of theirs, with quartiles."""
    if ratio is None:
        return ""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def times(ratio: dict[str, float] | None) -> str:
    """Their time over ours, with quartiles: the inverse of a recorded ratio."""
    if ratio is None:
        return ""
    low, median, high = (1 / ratio[name] for name in ("high", "median", "low"))
    return f"{_short(median)}x ({_short(low)} to {_short(high)})"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"


def markdown(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table."""
    titles = list(titles)
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

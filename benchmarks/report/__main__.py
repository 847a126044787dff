"""Write what the benchmarks measured into the pages, or check that they say it.

    python benchmarks/report [--check]

Reads every ``benchmarks/results/<date>_<machine>_<commit>/*.json``. Of a benchmark the newest run
on each machine counts. The text between two markers of a page is replaced, so that no number is
typed by hand:

    <!-- measured by bench_blocks.py -->
    <!-- end of measurements -->
"""

from __future__ import annotations

import re
import sys

import answers
import choices
import goals
import growth
import headline
import hvp
import ops
import steps
from runs import ROOT, Measured, newest

PAGES = (
    "README.md",
    "docs/kernels.md",
    "docs/engine.md",
    "docs/training.md",
    "benchmarks/README.md",
)
TABLES = {
    "bench_blocks.py": ops.table,
    "bench_tangents.py": ops.table,
    "bench_squares.py": ops.table,
    "bench_hvp.py": hvp.table,
    "bench_choices.py": choices.table,
    "bench_eigs.py": answers.table,
    "bench_trace.py": answers.table,
    "bench_density.py": answers.table,
    "bench_track.py": answers.table,
    "bench_curves.py": answers.table,
    "bench_surface.py": answers.table,
    "bench_memory.py": answers.table,
    "bench_growth.py": growth.table,
    "bench_steps.py": steps.table,
}
OF_EVERYTHING = {"everything": goals.table, "headline": headline.table}
BLOCK = re.compile(
    r"(<!-- measured by (?P<source>[\w.]+) -->\n).*?(<!-- end of measurements -->)", re.DOTALL
)


def written(page: str, measured: list[Measured]) -> str:
    """``page`` with every block between markers made anew."""

    def block(found: re.Match[str]) -> str:
        source = found["source"]
        own = [one for one in measured if one.source == source]
        if source in OF_EVERYTHING:
            text = OF_EVERYTHING[source](measured)
        else:
            text = TABLES[source](own) if own else "No result has been committed yet.\n"
        return f"{found[1]}\n{text}\n{found[3]}"

    return BLOCK.sub(block, page)


def main(check: bool) -> str | None:
    """Write the pages; or say which of them are not what the results say."""
    measured, stale = newest(), []
    for name in PAGES:
        path = ROOT / name
        before = path.read_text()
        after = written(before, measured)
        if after != before and not check:
            path.write_text(after)
        if after != before and check:
            stale.append(name)
    grown = [one for one in measured if one.source == "bench_growth.py"]
    if grown and not check:
        growth.draw(grown)
    if not stale:
        return None
    return f"{', '.join(stale)}: not what the results say; run: python benchmarks/report"


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))

"""Write what bench_choices.py measured into its table in docs/engine.md.

    python benchmarks/choices_table.py RESULTS.json

The text between the two marker comments is replaced, so that no number is typed by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hvp_table import PAGE, part
from ops_table import machine

BEGIN, END = "<!-- measured by bench_choices.py -->", "<!-- end of measured choices -->"
HEADER = "| decision | case | time, of that without it | difference |\n|---|---|---|---|\n"
SPREADS = (
    "| fresh signs for every so many rows | deviation of tr H | deviation of tr (H - G) |\n"
    "|---|---|---|\n"
)


def main(path: str) -> None:
    """Replace the table."""
    run = json.loads(Path(path).read_text())
    lines, spreads = [], []
    for entry in run["benchmarks"]:
        name, _, case = entry["name"].removeprefix("test_").partition("[")
        extra = entry["extra_info"]
        if "spread" in extra:
            spread = extra["spread"]
            spreads.append(f"| {case.rstrip(']')} | {spread['H']:.3f} | {spread['R']:.4f} |\n")
            continue
        error = f"{extra['error']:.0e}" if extra["error"] else "none"
        words = name.replace("_", " "), case.rstrip("]")
        lines.append(f"| {' | '.join(words)} | {part(extra['ratios']['without'])} | {error} |\n")
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    tables = f"{HEADER}{''.join(lines)}\n{SPREADS}{''.join(spreads)}"
    PAGE.write_text(f"{before}{BEGIN}\n\n{machine(run)}\n\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1])

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


def main(path: str) -> None:
    """Replace the table."""
    run = json.loads(Path(path).read_text())
    lines = []
    for entry in run["benchmarks"]:
        name, _, case = entry["name"].removeprefix("test_").partition("[")
        extra = entry["extra_info"]
        error = f"{extra['error']:.0e}" if extra["error"] else "none"
        words = name.replace("_", " "), case.rstrip("]")
        lines.append(f"| {' | '.join(words)} | {part(extra['ratios']['without'])} | {error} |\n")
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{machine(run)}\n\n{HEADER}{''.join(lines)}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1])

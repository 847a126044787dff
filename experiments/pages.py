"""Write what experiments found into their pages of studies, or check that these say it.

    python experiments/pages.py [--check]

Every table of a page in docs/studies is made of the result file beside its pictures by the
``tables`` of the experiment's own ``page.py``, and put between two markers:

    <!-- local-geometry stages: begin -->
    <!-- local-geometry stages: end -->
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"


def written(name: str, text: str) -> str:
    """The page ``text`` of an experiment with all its tables made anew.

    Raises:
        ValueError: The page does not have exactly one place for a table.
    """
    make = runpy.run_path(str(HERE / name.replace("-", "_") / "page.py"))["tables"]
    found = json.loads((DOCS / "images" / f"{name}.json").read_text())
    for table, rows in make(found).items():
        begin, end = (f"<!-- {name} {table}: {mark} -->\n" for mark in ("begin", "end"))
        before, *after = re.split(f"{re.escape(begin)}.*?{re.escape(end)}", text, flags=re.DOTALL)
        if len(after) != 1:
            raise ValueError(f"{name}.md has {len(after)} places for the table {table!r}, not one")
        text = f"{before}{begin}\n{markdown(rows)}\n{end}{after[0]}"
    return text


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of ``rows``, the first of which is its head."""
    head, *others = rows
    lines = [head, ["---"] * len(head), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> str | None:
    """Write the pages, or return which are not what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check, stale = parser.parse_args().check, []
    for maker in sorted(HERE.glob("*/page.py")):
        name = maker.parent.name.replace("_", "-")
        page = DOCS / "studies" / f"{name}.md"
        before = page.read_text()
        after = written(name, before)
        if after != before and check:
            stale.append(page.name)
        elif after != before:
            page.write_text(after)
    if not stale:
        return None
    return f"{', '.join(stale)}: not what was found; run: python experiments/pages.py"


if __name__ == "__main__":
    sys.exit(main())

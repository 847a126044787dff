"""Put what the published measurements say about each finding into docs/findings.md.

    python tools/findings_page.py ../shared/data/yang2021/yang2021_cifar10_resnet18.csv

Rewrites the page between its two markers; tests/study/test_findings_page.py holds it to that.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

from landscape_fast.study.evidence import Finding
from landscape_fast.study.findings import findings
from landscape_fast.study.table import read_table
from landscape_fast.study.taxonomy import classify

PAGE = Path(__file__).resolve().parents[1] / "docs" / "findings.md"
MARKED = re.compile(r"(<!-- computed: begin -->\n).*?(<!-- computed: end -->)", re.DOTALL)
AGREES = {"supported": "yes", "contradicted": "no", "cannot tell": "cannot tell"}


def row(finding: Finding) -> str:
    """One line of the table of effects."""
    effect = interval = ""
    if not math.isnan(finding.effect):
        low, high = finding.interval
        effect = f"{finding.effect:.2f} {finding.unit}"
        interval = f"{low:.2f} to {high:.2f}"
    return (
        f"| {finding.number} | {finding.claim} | {effect} | {interval} | "
        f"{finding.basis.removeprefix('bootstrap over ')} | {AGREES[finding.verdict]} |"
    )


def computed(table: Path) -> str:
    """The lines between the markers, for a table of cells."""
    cells = read_table(table)
    inside = cells["in_notebook_grid"] == 1
    cells = {name: values[inside] for name, values in cells.items()}
    found = findings(classify(cells))
    lines = [
        f"{inside.sum()} cells; intervals of 95 %.",
        "",
        "| | the paper's claim | effect | interval | bootstrap over | this grid agrees |",
        "|---|---|---|---|---|---|",
        *(row(finding) for finding in found),
        "",
        *(f"- {finding.number}: {finding.sentence}" for finding in found),
    ]
    return "\n".join(lines) + "\n"


def main(table: Path) -> None:
    """Rewrite the page."""
    text = computed(table)
    page = MARKED.sub(lambda marks: marks[1] + text + marks[2], PAGE.read_text())
    PAGE.write_text(page)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

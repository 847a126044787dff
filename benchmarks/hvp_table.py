"""Write what bench_hvp.py measured into the table of docs/engine.md.

    python benchmarks/hvp_table.py RESULTS.json [RESULTS.json ...]

The text between the two marker comments is replaced, so that no number is typed by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ops_table import machine

PAGE = Path(__file__).resolve().parents[1] / "docs" / "engine.md"
BEGIN, END = "<!-- measured by bench_hvp.py -->", "<!-- end of measurements -->"
RIVALS = {
    "kept": "of a kept graph",
    "rebuilt": "of a rebuilt graph",
    "vmap": "of vmap",
    "compiled": "of compiled vmap",
}
WHAT = {
    "test_product": "product",
    "test_product_against_vmap": "product",
    "test_quadratic": "quadratic form",
}
K = 8


def part(ratio: dict[str, float] | None) -> str:
    """Our time as a part of theirs, with quartiles."""
    if ratio is None:
        return ""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def main(paths: list[str]) -> None:
    """Replace the table by one with a part per machine."""
    runs = [json.loads(Path(path).read_text()) for path in paths]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        for entry in run["benchmarks"]:
            name, _, rest = entry["name"].partition("[")
            if name not in WHAT:
                continue
            network = rest.rstrip("]").split("-")[0]
            row = rows.setdefault((network, WHAT[name]), {"ms": 1e3 * entry["stats"]["median"] / K})
            row.update(entry["extra_info"]["ratios"])
    rivals = [rival for rival in RIVALS if any(rival in row for row in rows.values())]
    titles = ["network", "what", "ms per vector", *(RIVALS[rival] for rival in rivals)]
    header = f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|\n"
    lines = [
        f"| {network} | {what} | {row['ms']:.3g} | "
        + " | ".join(part(row.get(rival)) for rival in rivals)
        + " |\n"
        for (network, what), row in sorted(rows.items())
    ]
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    text = f"{machine(runs[0])}\n\n{header}{''.join(lines)}"
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])

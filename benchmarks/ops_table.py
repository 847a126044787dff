"""Write what bench_ops.py measured into the table of docs/kernels.md.

    python benchmarks/ops_table.py RESULTS.json [RESULTS.json ...]

The text between the two marker comments is replaced, so that no number is typed by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "kernels.md"
BEGIN, END = "<!-- measured by bench_ops.py -->", "<!-- end of measurements -->"
HEADER = (
    "| operation | k | n | m | ms | GB/s | GFMA/s | float32 torch takes | float64 torch takes |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def machine(run: dict[str, Any]) -> str:
    """One sentence on where the numbers come from."""
    info = run["machine_info"]
    extra = run["benchmarks"][0]["extra_info"]
    return (
        f"{info['cpu']['brand_raw']}, {info['cpu']['count']} cores, {extra['threads']} threads, "
        f"Python {info['python_version']}, torch {extra['torch']}, {run['datetime'][:10]}, "
        f"commit {run['commit_info']['id'][:7]}."
    )


def times(ratio: dict[str, float] | None) -> str:
    """Their time over ours, with quartiles: the inverse of a recorded ratio."""
    if ratio is None:
        return ""
    low, median, high = (1 / ratio[name] for name in ("high", "median", "low"))
    return f"{median:.2f}x ({low:.2f} to {high:.2f})"


def row(entry: dict[str, Any]) -> str:
    """One benchmark as a line of the table."""
    extra, seconds = entry["extra_info"], entry["stats"]["median"]
    shape, rivals = extra["shape"], extra["ratios"]
    rate = extra["multiply_adds"] / seconds / 1e9
    name = entry["name"].removeprefix("test_").split("[")[0]
    cells = [
        name,
        *(f"{shape[letter]:,}" if letter in shape else "" for letter in "knm"),
        f"{1e3 * seconds:.3g}",
        f"{extra['bytes'] / seconds / 1e9:.1f}",
        f"{rate:.1f}" if rate else "",
        times(rivals.get("float32", rivals.get("torch"))),
        times(rivals.get("float64")),
    ]
    return "| " + " | ".join(cells) + " |\n"


def main(paths: list[str]) -> None:
    """Replace the table by one with a part per results file."""
    parts = []
    for path in paths:
        run = json.loads(Path(path).read_text())
        entries = [entry for entry in run["benchmarks"] if "multiply_adds" in entry["extra_info"]]
        parts.append(f"{machine(run)}\n\n{HEADER}" + "".join(map(row, entries)))
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n\n" + "\n".join(parts) + "\n" + END + after)


if __name__ == "__main__":
    main(sys.argv[1:])

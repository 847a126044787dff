"""Put the picture and the numbers of a finished demo into the README.

    python tools/readme_demo.py results/digits

Copies the figure and what the caption needs to docs/images/ and rewrites the caption between its
two markers. tests/test_documentation.py holds the README to the copied numbers.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MARKED = re.compile(r"(<!-- demo:begin -->).*?(<!-- demo:end -->)", re.DOTALL)


def caption(demo: dict[str, Any]) -> str:
    """The README's sentence about the demo, from its numbers."""
    phases = ", ".join(f"{name} {count}" for name, count in demo["counts"].items() if count)
    thresholds = demo["thresholds"]
    return (
        f"{demo['models']} trainings; cells per phase: {phases}. Thresholds fixed before the run: "
        f"log trace {thresholds['sharpness']:g}, connectivity {thresholds['connectivity']:g} "
        f"points, CKA {thresholds['similarity']:g}. Of {demo['replicates']} bootstrap maps over "
        f"seeds, {100 * demo['several_phases']:.0f}% show more than one phase."
    )


def main(directory: Path) -> None:
    """Copy figure and numbers of the study in ``directory``, and rewrite the caption."""
    summary = json.loads((directory / "summary.json").read_text())
    grid = summary["study"]["grid"]
    cells = len(grid["load"]["values"]) * len(grid["temperature"]["values"])
    demo = {
        "models": cells * len(grid["seeds"]),
        "counts": summary["counts"],
        "thresholds": summary["thresholds"],
        "replicates": summary["bootstrap"]["replicates"],
        "several_phases": summary["bootstrap"]["maps_with_several_phases"],
    }
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / "digits.json").write_text(json.dumps(demo, indent=1) + "\n")
    shutil.copyfile(directory / "figures" / "panels.png", IMAGES / "digits.png")
    page = ROOT / "README.md"
    page.write_text(MARKED.sub(rf"\g<1>{caption(demo)}\g<2>", page.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

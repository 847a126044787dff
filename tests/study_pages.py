"""Pages of experiments, and the result files that they quote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"


def found(name: str) -> Any:
    """What the experiment ``name`` wrote."""
    return json.loads((DOCS / "images" / f"{name}.json").read_text())


def text(name: str) -> str:
    """Its page on one line."""
    return " ".join((DOCS / "studies" / f"{name}.md").read_text().split())

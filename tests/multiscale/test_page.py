"""The page of the study quotes the numbers that its experiment wrote."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_of_the_page_are_those_of_the_numbers():
    pytest.importorskip("sklearn")
    tool = runpy.run_path(str(ROOT / "experiments" / "multiscale.py"))
    numbers = json.loads((ROOT / "docs" / "images" / "multiscale.json").read_text())
    block = tool["BLOCK"].search(tool["PAGE"].read_text())
    assert block.group() == f"{block.group(1)}{tool['table'](numbers)}{block.group(2)}"

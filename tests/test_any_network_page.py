"""The page on any network quotes the numbers that its experiment wrote."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies" / "any-network.md"


def test_its_table_is_that_of_the_result_file():
    written = runpy.run_path(str(ROOT / "experiments" / "pages.py"))["written"]
    assert written("any-network", PAGE.read_text()) == PAGE.read_text()


def test_the_figures_in_its_text_are_those_of_the_result_file():
    text = " ".join(PAGE.read_text().split())
    found = json.loads((ROOT / "docs" / "images" / "any-network.json").read_text())
    *classical, spiking = found.values()
    one, two, three = (f"{row['smallest']:.2f}" for row in classical)
    largest, smallest = spiking["eigenvalues"][0], spiking["smallest"]
    for said in (
        f"(the smallest {one}, {two} and {three})",
        f"below zero, {smallest:.2f}, as above, {largest:.2f}",
    ):
        assert said in text, said
    for row in found.values():
        assert row["surface lowest"] == row["surface at the model"]
        assert row["surface by the plain model because"] is None
    assert [row["refused"] is not None for row in found.values()] == [False] * 3 + [True]

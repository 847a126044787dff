"""The page on paths quotes the numbers that its experiment wrote."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_figures_in_its_text_are_those_of_the_numbers():
    text = " ".join((DOCS / "studies" / "paths.md").read_text().split())
    found = json.loads((DOCS / "images" / "paths.json").read_text())
    low, high = (found["instability"][f"lr {rate}"] for rate in (0.1, 0.5))
    apart, early, epoch, *_ = (mean(pairs) for pairs in high["barriers"])
    line, bezier, chain, band = found["paths"].values()
    lengths = [f"{path['length']:.1f}" for path in found["paths"].values()]
    for said in (
        f"for 12 epochs of {high['run steps'] // 12} steps",
        f"a mean barrier of {mean(low['barriers'][0]):.1f} points",
        f"end {apart:.0f} points apart, {early:.0f} if they part after {high['steps'][1]} steps",
        f"connected ({epoch:.1f} points) if they share the first epoch",
        f"the highest loss is {line['highest loss']:.2f} on the straight line, "
        f"{bezier['highest loss']:.3f} on a Bezier curve with one bend, "
        f"{chain['highest loss']:.3f} on a chain with three, and "
        f"{band['highest loss']:.3f} on the elastic band, which ended with {band['bends']} pivots",
        f"their lengths are {', '.join(lengths[:3])} and {lengths[3]}",
    ):
        assert said in text, said
    assert low["stable from"] == 0
    assert high["steps"].index(high["stable from"]) == 2
    assert high["stable from"] == high["run steps"] // 12
    assert (bezier["bends"], chain["bends"]) == (1, 3)

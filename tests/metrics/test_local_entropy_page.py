"""The page on local measures quotes the numbers that the experiment on local entropy wrote."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def cost(estimate):
    """What a neighbourhood adds to the loss of the network."""
    return -estimate["value"] - estimate["loss"]


def test_the_figures_in_its_text_are_those_of_the_numbers():
    text = " ".join((DOCS / "studies" / "local-measures.md").read_text().split())
    found = json.loads((DOCS / "images" / "local-entropy.json").read_text())
    large, small = found["batches of 128"], found["batches of 16"]
    dimension = int(re.search(r"\((\d+) weights, digits\)", text)[1])
    far, _, middle, near = (math.sqrt(dimension / row["gamma"]) for row in large)
    more = [[cost(row["langevin"]) / cost(row["quadratic"]) for row in rows]
            for rows in (large, small)]  # fmt: skip
    wider = [cost(one["langevin"]) / cost(other["langevin"])
             for one, other in zip(large, small, strict=True)]  # fmt: skip
    for said in (
        f"At a distance of {near:.1f} loss and quadratic agree within their errors",
        f"at {middle:.1f} the loss costs {more[0][2]:.1f} times as much",
        f"at {far:.1f} between {more[0][0]:.1f} and {more[1][0]:.1f} times as much",
        f"has {small[0]['langevin']['loss'] / large[0]['langevin']['loss']:.2f} of the loss",
        f"by a factor between {min(wider):.0f} and {max(wider):.0f}",
        f"an error of {large[0]['langevin']['stderr']:.2f} nats, "
        f"and {large[0]['langevin']['acceptance']:.0%} of their moves were taken",
    ):
        assert said in text, said
    assert f"{more[0][2]:.1f}" == f"{more[1][2]:.1f}"
    for rows in (large, small):
        one, other = rows[-1]["quadratic"], rows[-1]["langevin"]
        assert abs(cost(one) - cost(other)) < 1.96 * math.hypot(one["stderr"], other["stderr"])

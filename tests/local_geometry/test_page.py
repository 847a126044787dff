"""The page of local geometry shows what the experiment wrote."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "studies" / "local-geometry.md"


@pytest.fixture(scope="module")
def found():
    return json.loads((ROOT / "docs" / "images" / "local-geometry.json").read_text())


def test_its_tables_are_those_of_the_result_file(found):
    script = runpy.run_path(str(ROOT / "experiments" / "local_geometry.py"))
    for table in script["tables"](found).split("\n\n"):
        assert table in PAGE.read_text()


def test_the_figures_in_its_text_are_those_of_the_result_file(found):
    text = " ".join(PAGE.read_text().split())
    zone, beside, dimension = found["zone"], found["beside"], found["dimension"]
    for said in (
        f"({found['parameters']:,} weights)",
        f"at step {found['transient'][0]}",
        f"{found['transient'][1]:.0f} times",
        f"{found['transient'][2]:.1%}",
        f"they are {found['density_outliers'][0]:.1f} ± {found['density_outliers'][1]:.1f}.",
        f"{beside['beyond_edge'][0]} eigenvalues of the network",
        f"{beside['beyond_edge'][1]} of the draw",
        f"{beside['outliers']} foretold",
        f"{zone['peak'][0]:.2g} times the initial weights",
        f"{zone['in_plane']:.2f}",
        f"{zone['in_plane_foretold']:.2f}",
        f"{zone['in_plane_positive']:.0%}",
        f"{zone['accuracies']['80'][0]:.0f}% at a tenth",
        f"{zone['accuracies']['80'][-1]:.0f}% at ten times",
        f"{dimension['bracket'][1]} dimensions",
        f"{dimension['baseline']:.1f}%",
    ):
        assert said in text, said

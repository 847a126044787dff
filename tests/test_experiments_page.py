"""The page of experiments says what was measured, and predicts by a sum that can be checked."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from landscape_fast.sweep.study_file import read_study

FOLDER = Path(__file__).resolve().parents[1] / "experiments"


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return runpy.run_path(str(FOLDER / "report.py"))


@pytest.mark.parametrize("folder", [path.parent.name for path in FOLDER.glob("*/page.py")])
def test_the_tables_of_a_page_are_those_of_its_result_file(folder):
    name = folder.replace("_", "-")
    text = (FOLDER.parent / "docs" / "studies" / f"{name}.md").read_text()
    assert runpy.run_path(str(FOLDER / "pages.py"))["written"](name, text) == text


def test_the_pages_say_what_was_measured(tool):
    results = json.loads((FOLDER / "results.json").read_text())
    assert tool["BLOCK"].search(tool["README"].read_text())
    for page in tool["PAGES"]:
        text = page.read_text()
        assert tool["BLOCK"].sub(lambda block: tool["_block"](block, results), text) == text, page


def test_a_measured_cost_and_outcome_are_told_as_such(tool):
    kept = {"label-noise-preview": {"core_hours": 0.5, "how": "measured", "outcome": "a surprise"}}
    rows = tool["table"](kept).splitlines()
    (row,) = (row for row in rows if "[label-noise](" in row)
    assert "| 15 minutes, measured |" in row
    assert "| a surprise |" in row
    (other,) = (row for row in rows if "[svhn](" in row)
    assert "| not measured |" in other
    assert "| not run |" in other


def test_a_predicted_cost_is_the_sum_over_models_and_pairs(tool, monkeypatch):
    monkeypatch.setitem(tool["predicted"].__globals__, "_seconds_per_row", lambda recipe: 1.0)
    study = read_study(FOLDER / "width-batch-constant.yaml", "preview")
    rows, models, pairs = 0.04 * 50_000, 5 * 5 * 2, 5 * 5
    training = models * 40 * rows
    sharpness = models * (30 * 500 + 10)
    curves = pairs * (20 + 2 * (5 + 5) / 3) * rows
    expected = (training + sharpness + curves) / 3600.0
    assert tool["predicted"](study)["core_hours"] == pytest.approx(expected, abs=0.01)


def test_a_replication_is_told_metric_by_metric(tool):
    found = {"metric": "mc_train_err", "rank_correlation": 0.81, "interval": [0.5, 0.95]}
    text = tool["replicated"]("grid", {"grid": {"replication": [found | {"cells": 25}]}})
    assert text.splitlines()[2:] == ["| `mc_train_err` | 25 | 0.81 | 0.50 to 0.95 |"]

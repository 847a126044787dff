"""Tables say what the committed results say, goals are judged, and slowing down is noticed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

REPORT = Path(__file__).resolve().parents[2] / "benchmarks" / "report"


@pytest.fixture
def report(monkeypatch):
    """Loads a module of the report by name, as if started from its folder."""
    monkeypatch.syspath_prepend(str(REPORT))
    names = {path.stem for path in REPORT.glob("*.py")}
    for name in names & set(sys.modules):
        monkeypatch.delitem(sys.modules, name)

    def load(name, file=None):
        path = REPORT / (file or f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def content(kept, *, when="2026-01-02T00:00:00", name="test_product[resnet18 width 8]"):
    return {
        "datetime": when,
        "commit_info": {"id": "0123456789"},
        "machine_info": {"cpu": {"brand_raw": "CPU", "count": 2}, "python_version": "3.12"},
        "benchmarks": [
            {
                "name": name,
                "fullname": f"benchmarks/bench_hvp.py::{name}",
                "stats": {"median": 0.5},
                "extra_info": {"ratios": {"kept": dict.fromkeys(("median", "low", "high"), kept)}},
            }
        ],
    }


def test_the_pages_are_what_the_results_say():
    run = subprocess.run([sys.executable, str(REPORT), "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_only_what_is_between_markers_is_replaced(report):
    pages = report("pages", "__main__.py")
    page = (
        "before 0.123\n<!-- measured by bench_hvp.py -->\nold 0.456\n"
        "<!-- end of measurements -->\nafter 0.789\n"
    )
    new = pages.written(page, report("runs").read(content(0.61)))
    assert new.startswith("before 0.123\n<!-- measured by bench_hvp.py -->\n")
    assert new.endswith("<!-- end of measurements -->\nafter 0.789\n")
    assert "old" not in new
    assert "| resnet18 width 8 | product | 62.5 | 0.61 (0.61 to 0.61) |" in new


def test_the_newest_run_on_a_machine_counts(report, tmp_path, monkeypatch):
    runs = report("runs")
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    for folder, kept, when in (("b", 0.6, "2026-02-01"), ("a", 0.5, "2026-03-01")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hvp.json").write_text(json.dumps(content(kept, when=when)))
        (tmp_path / folder / "environment.json").write_text("{}")
    (found,) = runs.newest()
    assert found.extra["ratios"]["kept"]["median"] == 0.5


@pytest.mark.parametrize(("kept", "verdict"), [(0.7, "met"), (0.77, "missed by 10.0%")])
def test_a_goal_is_met_or_missed_by_so_much(report, kept, verdict):
    text = report("goals").table(report("runs").read(content(kept)))
    (row,) = [line for line in text.splitlines() if line.startswith("| product, of a kept graph: ")]
    assert row.endswith(f"| at most 0.7 | {kept} | {verdict} |")
    assert (
        "| row products, times faster than in float64 | at least 5 | not measured | open |" in text
    )


def test_what_is_missed_is_the_share_of_the_goal_that_is_not_reached(report):
    goal = {"text": "times faster", "least": 4}
    row = report("goals")._row(goal, SimpleNamespace(case=""), 1.0)
    assert row == ["times faster", "at least 4", "1", "missed by 75.0%"]


@pytest.mark.parametrize(("rebuilt", "said"), [(0.4, "2.5"), (0.00123, "810")])
def test_the_readmes_factors_are_those_of_the_results(report, rebuilt, said):
    kept = content(0.7)
    ratios = kept["benchmarks"][0]["extra_info"]["ratios"]
    ratios["rebuilt"] = ratios["kept"] | {"median": rebuilt}
    rows = report("headline").table(report("runs").read(kept)).splitlines()
    assert rows[2].startswith("| product with a block of 8 vectors")
    assert rows[2].endswith(f"| {said} |")
    assert len([row for row in rows if row.startswith("|")]) == 3  # what is not measured is no row


def test_goals_name_benchmarks_that_exist(report):
    goals = report("goals")
    sources = {path.name for path in REPORT.parent.glob("bench_*.py")}
    for goal in tomllib.loads(goals.GOALS.read_text())["goal"]:
        assert goal["benchmark"] in sources
        function = goal["name"].split("\\[")[0]
        assert f"def test_{function}(" in (REPORT.parent / goal["benchmark"]).read_text(), goal


@pytest.mark.parametrize(("now", "names"), [(0.72, 0), (0.74, 1)])
def test_a_ratio_a_fifth_worse_is_named(report, now, names):
    guard, read = report("guard"), report("runs").read
    found = guard.slower(read(content(now)), read(content(0.61)))
    assert len(found) == names
    assert all("bench_hvp.py::product[resnet18 width 8] against kept" in line for line in found)


def test_results_are_kept_without_what_names_a_machine(report, tmp_path):
    raw = content(0.6)
    raw["machine_info"] |= {"node": "secret", "cpu": {"brand_raw": "AMD EPYC", "count": 2}}
    raw["benchmarks"][0]["stats"]["data"] = [0.5, 0.5]
    (tmp_path / "raw.json").write_text(json.dumps(raw))
    keep = report("keep")
    assert keep.folder(raw) == "2026-01-02_epyc-2core_0123456"
    assert keep.main(str(tmp_path / "raw.json"), "hvp", str(tmp_path / "kept")) is None
    kept = (tmp_path / "kept" / "hvp.json").read_text()
    assert "secret" not in kept
    assert json.loads(kept)["benchmarks"][0]["stats"] == {"median": 0.5}

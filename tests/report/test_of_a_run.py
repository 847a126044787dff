"""A study that is really run ends in a report of its own numbers."""

from __future__ import annotations

import csv

import blobs
import pytest
from typer.testing import CliRunner

from landscape_fast.cli.app import app


@pytest.mark.slow
def test_a_study_with_densities_ends_in_a_report(tmp_path):
    measure = blobs.study()["measure"] | {
        "line": {"points": 3},
        "density": {"samples": 16, "starts": 2, "steps": 4},
    }
    study = blobs.write_study(tmp_path / "blobs.yaml", measure=measure)
    out = tmp_path / "out"
    for command in (
        ["study", str(study), "--output", str(out), "--workers", "1"],
        ["report", str(out)],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    page = (out / "report.html").read_text()
    assert "No task failed, and every one of 68 results met its tolerance." in page
    assert 'alt="Spectral density of the Hessian: largest eigenvalue' in page
    assert 'alt="Training error along the curve between two models' in page
    assert {"curves.png", "slices.png"} <= {file.name for file in (out / "figures").iterdir()}
    with (out / "phases.csv").open() as lines:
        for row in csv.DictReader(lines):
            assert f"<td>{float(row['log_hessian_trace']):.6g}</td>" in page

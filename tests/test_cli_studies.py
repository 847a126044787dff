"""Commands about studies that run elsewhere: forecast, shards, status, retry, export."""

from __future__ import annotations

import sys
from pathlib import Path

import blobs
import pytest
from serial import run_serially
from test_cli import finished, folder, no_worker, run

from landscape_fast.store import Store
from landscape_fast.study.table import read_table

__all__ = ["finished", "folder", "no_worker"]  # fixtures


@pytest.fixture
def here(monkeypatch) -> None:
    """Tasks run in this process and nothing is drawn, which saves time."""
    monkeypatch.setattr("landscape_fast.cli.study.draw", lambda *arguments: [Path("panels.png")])
    monkeypatch.setattr(
        "landscape_fast.sweep.executors.choose.run_local",
        lambda *arguments, workers: run_serially(*arguments),
    )


@pytest.fixture
def half(folder) -> Path:
    """A study whose cells of width 3 lack their results, and one failed."""
    store, pair = Store(folder / "out/results"), ("", "")
    for key, name in store:
        if "-w3-" in key and not name.startswith("train"):
            store.delete(key, name)
            pair = (key, name) if "+" in key else pair
    store.failures.record(*pair, "ValueError: bad luck", "Traceback: it was Friday")
    return folder


@pytest.mark.usefixtures("no_worker")
def test_a_plan_says_what_is_left_and_how_long_it_takes_and_starts_nothing(half):
    before = sorted(half.rglob("*"))
    result = run("study", half / "blobs.yaml", "--output", half / "out", "--plan", "--workers", 2)
    assert result.exit_code == 0, result.output
    words = [line.split() for line in result.output.splitlines()]
    counts = {line[0]: (int(line[1]), int(line[2])) for line in words[1:4]}
    assert counts["train"] == (8, 0)
    assert counts["measure"] == (32, 16)
    assert "left: " in result.output
    assert "with 2 tasks at a time" in result.output
    assert "range unknown, fewer than three cells timed" in result.output
    assert sorted(half.rglob("*")) == before


def test_a_plan_before_anything_was_timed_says_how_to_begin(tmp_path):
    study = blobs.write_study(tmp_path / "blobs.yaml")
    result = run("study", study, "--output", tmp_path / "out", "--plan")
    assert result.exit_code == 0, result.output
    assert "nothing was timed yet: run one part, such as --shard 0/20" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_worker")
def test_status_tells_counts_and_failures_from_the_folder_alone(half):
    result = run("status", half / "out")
    assert result.exit_code == 0, result.output
    words = [line.split() for line in result.output.splitlines()]
    numbers = {line[0]: list(map(int, line[1:])) for line in words[1:4]}
    assert numbers["train"] == [8, 8, 0, 0, 0]
    assert numbers["measure"] == [32, 16, 16, 0, 0]
    assert sum(line[3] for line in numbers.values()) == 1
    assert "1 tasks failed:" in result.output
    assert "ValueError: bad luck" in result.output
    assert "Friday" not in result.output


@pytest.mark.usefixtures("here")
def test_what_failed_before_fails_the_command_until_it_is_retried(half):
    command = ("study", half / "blobs.yaml", "--output", half / "out", "--workers", 1)
    first = run(*command)
    assert first.exit_code == 1, first.output
    assert "1 failed before" in first.output
    assert f"`landscape-fast retry {half / 'out'} --failed` tries them again" in first.output
    again = run("retry", half / "out", "--failed", "--workers", 1)
    assert again.exit_code == 0, again.output
    assert "1 failed tasks are to be tried again" in again.output
    assert "1 to compute" in again.output
    assert "predicted were" in again.output


@pytest.mark.usefixtures("no_worker")
def test_failures_can_be_forgotten_for_a_later_run(half):
    result = run("retry", half / "out", "--failed", "--no-run")
    assert result.exit_code == 0, result.output
    assert list(Store(half / "out/results").failures) == []
    assert run("retry", half / "out").output == "error: retry needs to know what: give --failed\n"


@pytest.mark.usefixtures("here")
def test_a_shard_computes_its_cells_and_draws_nothing(tmp_path):
    measure = {"hessian": None, "cka": None, "connectivity": None}
    study = blobs.write_study(tmp_path / "blobs.yaml", measure=measure, training={"epochs": 1})
    command = ("study", study, "--output", tmp_path / "out", "--workers", 1)
    result = run(*command, "--shard", "0/4")
    assert result.exit_code == 0, result.output
    assert "blobs, shard 0/4: 1 cells, 2 models" in result.output
    assert "shard 0/4 is done" in result.output
    assert not (tmp_path / "out/phases.csv").exists()
    assert run("status", tmp_path / "out").exit_code == 0


@pytest.mark.parametrize("to", ["csv", "parquet"])
@pytest.mark.usefixtures("no_worker")
def test_export_writes_what_there_is_as_tables(half, to):
    if to == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    result = run("export", half / "out", "--to", to, "--output", half / "tables")
    assert result.exit_code == 0, result.output

    def column(table: str, name: str) -> list:
        file = half / f"tables/{table}.{to}"
        if to == "csv":
            return read_table(file)[name].tolist()
        return parquet.read_table(file)[name].to_pylist()

    assert len(column("cells", "width")) == 4
    assert (
        column("runs", "train_loss")[:4]
        == read_table(half / "out/runs.csv")["train_loss"][:4].tolist()
    )
    states = column("tasks", "status")
    assert states.count("failed") == 1
    assert states.count("left") > 10
    assert column("tasks", "message")[states.index("failed")] == "ValueError: bad luck"


def test_commands_refuse_what_they_cannot_do(folder, tmp_path):
    study = folder / "blobs.yaml"
    for arguments, message in (
        (["status", tmp_path], "holds no study.yaml; run `landscape-fast study` first"),
        (["export", folder / "out", "--to", "xls"], "to must be one of csv, parquet, got 'xls'"),
        (["study", study, "--executor", "dask"], "executor must be local or ray, got 'dask'"),
        (["study", study, "--address", "auto"], "give --executor ray with it"),
        (["study", study, "--gpus-per-task", "0.5"], "gpus_per_task needs --executor ray"),
        (["study", study, "--gpus-per-task", "auto"], "gpus_per_task needs --executor ray"),
        (["study", study, "--gpus-per-task", "some"], "must be a number or the word"),
        (["study", study, "--shard", "4/4"], "shard must be i/n"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert message in result.output


def test_ray_that_is_not_installed_is_named_with_the_command_that_installs_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "landscape_fast.sweep.executors.ray", raising=False)
    result = run("study", folder / "blobs.yaml", "--executor", "ray")
    assert result.exit_code == 2
    assert "pip install 'landscape_fast[cluster]'" in result.output


def test_help_answers():
    for command in ("status", "retry", "export"):
        assert run(command, "--help").exit_code == 0

"""The command line: what it writes, what it says, and how it exits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import blobs
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from landscape_fast.cli import main
from landscape_fast.cli.app import app
from landscape_fast.cli.verdict import draw
from landscape_fast.store import Store, locked
from landscape_fast.study.table import read_table
from landscape_fast.sweep.config import Study

ROOT = Path(__file__).resolve().parents[1]
SEARCHED = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Folder with a study file and, under ``out``, the finished study; one for all processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    folder.mkdir(exist_ok=True)
    with locked(folder / ".lock"):
        if not (folder / "said").exists():
            study = blobs.write_study(folder / "blobs.yaml")
            result = run("study", study, "--output", folder / "out", "--workers", 2)
            assert result.exit_code == 0, result.output
            (folder / "said").write_text(result.output)
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of the finished study that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def no_worker(monkeypatch) -> None:
    """Starting a worker process fails the test."""
    monkeypatch.setattr("landscape_fast.sweep.executors.local._Pool._started", pytest.fail)


def test_a_study_ends_with_its_tables_figures_and_a_summary(finished):
    out = finished / "out"
    cells, phases = read_table(out / "table.csv"), read_table(out / "phases.csv")
    published = {"width", "batch_size", "n_params", "train_loss_mean", "train_acc_mean"}
    published |= {"test_acc_mean", "log_hessian_top_eig", "log_hessian_trace", "mc_train_err"}
    published |= {"cka_softmax_mean", "l2_distance_mean", "n_seeds", "hessian_trace_std"}
    assert published | {"converged"} <= cells.keys()
    assert {"phase", "phase_probability", "margin"} <= phases.keys() - cells.keys()
    assert len(read_table(out / "runs.csv")["seed"]) == 8
    assert len(read_table(out / "pairs.csv")["seed_i"]) == 4
    for name in ("panels", "phases", "trace", "connectivity"):
        Image.open(out / "figures" / f"{name}.png").verify()

    summary = json.loads((out / "summary.json").read_text())
    assert sum(summary["counts"].values()) == 4
    assert summary["thresholds"] == {"sharpness": 0.5, "connectivity": -2.0, "similarity": 0.7}
    assert summary["results"] == {"train": 8, "measure": 32, "compare": 16}
    assert summary["failed"] == []
    assert [each["tasks"] for each in summary["runs"]] == [56]
    shares = np.array(list(summary["bootstrap"]["probabilities"].values()))
    np.testing.assert_allclose(shares.sum(axis=0), 1.0)


def test_what_a_study_says_is_complete(finished):
    said = (finished / "said").read_text()
    for part in (
        "blobs: 4 cells, 8 models, 56 results, 56 to compute",
        "train    8/8  done",
        "measure  32/32  done",
        "compare  16/16  done",
        "batch_size \\ width",
        "thresholds: sharpness 0.5, connectivity -2, similarity 0.7",
        "phases.csv",
        "panels.png and 10 more",
    ):
        assert part in said


@pytest.mark.usefixtures("no_worker")
def test_a_second_run_computes_and_draws_nothing(folder, monkeypatch):
    monkeypatch.setattr("landscape_fast.plots.save_panels", pytest.fail)
    before = (folder / "out/summary.json").read_text()
    result = run("study", folder / "blobs.yaml", "--output", folder / "out")
    assert result.exit_code == 0, result.output
    assert "all there" in result.output
    after = json.loads((folder / "out/summary.json").read_text())
    assert after["runs"] == json.loads(before)["runs"]


@pytest.mark.usefixtures("no_worker")
def test_new_thresholds_only_classify_and_draw_again(folder):
    study = blobs.write_study(folder / "blobs.yaml", classify={"sharpness_threshold": -50.0})
    result = run("study", study, "--output", folder / "out")
    assert result.exit_code == 0, result.output
    assert set(read_table(folder / "out/phases.csv")["phase"]) <= {"I", "II"}


def test_a_corrupt_result_is_reported_and_computed_again(folder):
    store = Store(folder / "out/results")
    key, name = next((key, name) for key, name in store if name.startswith("trace"))
    good = store.load(key, name)
    store.path(key, name).write_text("{")
    result = run("study", folder / "blobs.yaml", "--output", folder / "out", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert f"computed again: {store.path(key, name)}: the header is not JSON" in result.output
    assert torch.equal(store.load(key, name).draws, good.draws)


def test_a_failing_task_fails_the_command_and_not_the_others(tmp_path):
    grid = {**blobs.study()["grid"], "temperature": {"knob": "batch_size", "values": [8]}}
    measure = {**blobs.study()["measure"], "hessian": None, "cka": None}
    study = blobs.write_study(
        tmp_path / "blobs.yaml", model="blobs:broken", grid=grid, measure=measure
    )
    result = run("study", study, "--output", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1, result.output
    assert "2 tasks failed, 6 were skipped" in result.output
    assert "ValueError: width 3 brings bad luck" in result.output
    assert set(read_table(tmp_path / "out/phases.csv")["phase"]) == {"undecided"}
    assert set(read_table(tmp_path / "out/table.csv")["converged"]) == {True, False}
    failed = json.loads((tmp_path / "out/summary.json").read_text())["failed"]
    assert len(failed) == 2
    assert "Traceback" in failed[0]["detail"]


@pytest.mark.usefixtures("no_worker")
def test_a_name_that_leads_nowhere_is_one_error_before_any_work(tmp_path):
    for change, message in (
        ({"model": "blobs:netwrk"}, "did you mean 'network'?"),
        ({"data": "blobs:missing"}, "has no 'missing'"),
        ({"data": "cifar10", "data_options": {"root": str(tmp_path)}}, "no complete CIFAR-10"),
        ({"loss": "no_such_module:loss"}, "cannot be imported"),
    ):
        study = blobs.write_study(tmp_path / "blobs.yaml", **change)
        result = run("study", study, "--output", tmp_path / "out")
        assert result.exit_code == 2
        assert message in result.output


def test_a_diverged_training_is_told_and_fails_nothing(tmp_path):
    grid = {**blobs.study()["grid"], "load": {"knob": "lr", "values": [0.1, 1e30]}, "seeds": [0]}
    measure = {"hessian": None, "cka": None, "connectivity": None}
    training = {"epochs": 2, "width": 2}
    study = blobs.write_study(tmp_path / "s.yaml", grid=grid, measure=measure, training=training)
    result = run("study", study, "--output", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "training diverged in epoch 1; its cell stays undecided" in result.output
    assert read_table(tmp_path / "out/runs.csv")["lr"].tolist() == [0.1, 0.1, 1e30, 1e30]


def test_a_study_that_is_running_is_left_alone(folder):
    with locked(folder / "out/.lock"):
        result = run("study", folder / "blobs.yaml", "--output", folder / "out")
    assert result.exit_code == 2
    assert "another process is running a study" in result.output


def test_mistakes_are_one_line_and_exit_code_2(tmp_path):
    study = blobs.write_study(tmp_path / "blobs.yaml", classifi={})
    for arguments, message in (
        (["study", study], "unknown key 'classifi'; did you mean 'classify'?"),
        (["study", tmp_path / "none.yaml"], "there is no study file"),
        (["classify", tmp_path / "none.csv"], "there is no table at"),
        (["plot", tmp_path], "holds no phases.csv"),
        (["measure", "none.pt", "--model", "small_cn", "--data", "digits"], "mean 'small_cnn'?"),
        (["measure", "none.pt", "--model", "small_cnn", "--data", "digits"], "does not exist"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert message in result.output
        assert result.output.startswith("error: ")
        assert result.output.count("\n") == 1


def test_ctrl_c_ends_with_its_own_exit_code(folder, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("landscape_fast.cli.study.run_study", interrupted)
    result = run("study", folder / "blobs.yaml", "--output", folder / "out")
    assert result.exit_code == 130
    assert "interrupted; what is finished is kept" in result.output


def test_traceback_shows_where_an_error_comes_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["landscape-fast", "--traceback"])
    result = run("--traceback", "study", tmp_path / "none.yaml")
    assert isinstance(result.exception, FileNotFoundError)


def test_a_full_disk_is_one_line(folder, monkeypatch):
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("landscape_fast.store.files.os.fsync", full)
    result = run("study", folder / "blobs.yaml", "--output", folder / "out")
    assert result.exit_code == 2
    assert "No space left on device" in result.output


def published(shared_data: Path) -> Path:
    return shared_data / "yang2021" / "yang2021_cifar10_resnet18.csv"


def test_classify_refuses_two_rows_of_one_cell(tmp_path):
    file = tmp_path / "runs.csv"
    row = "4,32,3.0,0.0,0.5"
    head = "width,batch_size,log_hessian_trace,mc_train_err,cka_softmax_mean"
    file.write_text("\n".join([head, row, row, "8,32,3.0,0.0,0.5"]))
    result = run("classify", file)
    assert result.exit_code == 2
    assert "has 2 rows with width, batch_size = (4, 32)" in " ".join(result.output.split())


@pytest.mark.data
def test_classify_reproduces_the_published_map(shared_data, tmp_path):
    result = run(
        *("classify", published(shared_data), "--output", tmp_path / "out.csv"),
        *("--sharpness-threshold", 5.9, "--connectivity-threshold", -2),
        *("--similarity-threshold", "0.70"),
    )
    assert result.exit_code == 0, result.output
    table = read_table(tmp_path / "out.csv")
    inside = table["in_notebook_grid"] == 1
    found, counts = np.unique(table["phase"][inside], return_counts=True)
    assert dict(zip(found, counts, strict=True)) == {
        "I": 49,
        "II": 27,
        "III": 20,
        "IV-A": 47,
        "IV-B": 26,
    }
    assert "I 70   II 46   III 20   IV-A 48   IV-B 26" in result.output


@pytest.mark.data
def test_thresholds_may_come_from_the_data_and_columns_may_be_named(shared_data):
    result = run(
        *("classify", published(shared_data), "--sharpness", "log_hessian_top_eig"),
        *("--sharpness-threshold", "data", "--similarity-threshold", "data"),
    )
    assert result.exit_code == 0, result.output
    assert "sharpness 5.9" not in result.output
    assert run("classify", published(shared_data), "--sharpness-threshold", "dta").exit_code == 2


@pytest.mark.data
def test_plot_draws_a_table(shared_data, tmp_path):
    result = run("plot", published(shared_data), "--output", tmp_path, "--format", "svg")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "panels.svg").read_text().count("Hessian trace") == 1
    assert not (tmp_path / "phases.svg").exists()


def test_plot_draws_a_study_again_as_its_file_says(folder):
    result = run("plot", folder / "out", "--output", folder / "again")
    assert result.exit_code == 0, result.output
    for file in (folder / "again").glob("*.png"):
        assert file.read_bytes() == (folder / "out/figures" / file.name).read_bytes()


def test_the_axis_of_a_study_says_what_the_width_of_its_network_is(folder, monkeypatch):
    told = {}
    monkeypatch.setattr(
        "landscape_fast.plots.save_panels", lambda *_, labels, **rest: told.update(labels) or []
    )
    study = Study.model_validate(blobs.study(model="mlp", data="digits"))
    draw(folder / "out/phases.csv", study, folder / "out/figures")
    assert told == {"width": "Width (units of a hidden layer)"}


def test_measure_agrees_with_the_study(finished, tmp_path):
    runs = read_table(finished / "out/runs.csv")
    checkpoint = next((finished / "out/checkpoints").glob("network-w2-*-b8-s1-*.pt"))
    row = int(np.flatnonzero((runs["width"] == 2) & (runs["batch_size"] == 8) & (runs["seed"]))[0])
    result = run(
        *("measure", checkpoint, "--model", "blobs:network", "--data", "blobs:blobs", "--width", 2),
        *("--metrics", "quality,top_eigs", "--json", tmp_path / "numbers.json"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "numbers.json").read_text())
    assert found["quality_train"]["loss"] == pytest.approx(runs["train_loss"][row])
    assert found["quality_test"]["accuracy"] == pytest.approx(runs["test_acc"][row])
    assert found["top_eigs"]["values"] == pytest.approx([runs["hessian_top_eig"][row]], rel=1e-4)
    assert "vectors" not in found["top_eigs"]
    assert "Hessian eigenvalue 1" in result.output


def test_measure_refuses_what_does_not_fit(finished):
    checkpoint = next((finished / "out/checkpoints").glob("network-w2-*.pt"))
    base = ["measure", checkpoint, "--model", "blobs:network", "--data", "blobs:blobs"]
    for arguments, message in (
        (["--width", 3], "does not fit the model"),
        (["--width", 2, "--metrics", "qality"], "did you mean 'quality'?"),
        (["--width", 2, "--data-option", "samplez=3"], "did you mean 'samples'?"),
        (["--width", 2, "--data-option", "samples"], "must look like KEY=VALUE"),
    ):
        result = run(*base, *arguments)
        assert result.exit_code == 2
        assert message in result.output


def test_version_and_help_answer():
    assert run("--version").output.startswith("landscape-fast 0.")
    for command in ("study", "classify", "plot", "measure"):
        assert run(command, "--help").exit_code == 0


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "landscape_fast.cli.app", None)
    monkeypatch.setattr("landscape_fast.cli._STUDY_EXTRA", {"landscape_fast.cli.app"})
    with pytest.raises(SystemExit, match=r"pip install 'landscape_fast\[study\]'"):
        main()


@pytest.mark.slow
def test_a_killed_study_continues_and_ends_like_an_undisturbed_one(finished, tmp_path):
    command = [sys.executable, "-m", "landscape_fast.cli", "study", str(finished / "blobs.yaml")]
    command += ["--output", str(tmp_path), "--workers"]
    environment = {**os.environ, "PYTHONPATH": SEARCHED}
    first = subprocess.Popen([*command, "2"], env=environment, stdout=subprocess.DEVNULL)
    store, deadline = Store(tmp_path / "results"), time.monotonic() + 120
    while len(list(store)) < 14:
        assert first.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.kill()
    first.wait()

    whole = {address: store.path(*address).read_bytes() for address in store if store.has(*address)}
    assert store.problems == []
    assert 14 <= len(whole) < 56
    second = subprocess.run([*command, "1"], env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert f"{56 - len(whole)} to compute" in second.stdout
    for address, header in whole.items():
        assert store.path(*address).read_bytes() == header, f"{address} was computed twice"
    undisturbed = Store(finished / "out/results")
    assert list(store) == list(undisturbed)
    for address in store:
        ours, theirs = store.header(*address), undisturbed.header(*address)
        assert ours["fields"] == theirs["fields"]
        assert ours["arrays_sha256"] == theirs["arrays_sha256"]
    for name in ("phases.csv", "runs.csv", "pairs.csv"):
        assert (tmp_path / name).read_bytes() == (finished / "out" / name).read_bytes()


def test_a_file_in_place_of_the_folder_is_named_without_an_error_number(tmp_path):
    study, file = blobs.write_study(tmp_path / "blobs.yaml"), tmp_path / "out"
    file.write_text("no folder")
    result = run("study", study, "--output", file)
    assert result.exit_code == 2
    assert f"error: {file}: File exists" in result.output

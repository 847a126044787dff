"""What is there is not computed again; what depends on a change, and only that, is."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import blobs
import numpy as np
import pytest
import torch

from landscape_fast.metrics.connectivity import connectivity
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.metrics.predictions import agreement, ensemble_quality
from landscape_fast.metrics.quality import quality
from landscape_fast.metrics.sharpness import top_eigs
from landscape_fast.store import Store
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.graph import UnusableError
from landscape_fast.sweep.plan import Plan, plan
from landscape_fast.sweep.tables import gather
from landscape_fast.sweep.tasks import perform
from landscape_fast.training.checkpoint import load_checkpoint

ONE_CELL = {
    "load": {"knob": "width", "values": [2]},
    "temperature": {"knob": "batch_size", "values": [8]},
    "seeds": [0, 1],
}


def study(**changes: object) -> Study:
    return Study.model_validate(blobs.study(**changes))


def planned(folder: Path, **changes: object) -> Plan:
    return plan(study(**changes), folder, Store(folder / "results"))


def compute(found: Plan) -> None:
    """Run the tasks one after the other in this process; skip what cannot run."""
    for task in found.tasks:
        try:
            perform(task.work)
        except UnusableError:
            return


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    compute(planned(folder))
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of the finished study that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


def metrics(found: Plan) -> set[str]:
    return {task.work.metric for task in found.tasks}


def test_a_new_study_has_all_its_work_ahead(tmp_path):
    found = planned(tmp_path)
    assert found.totals == {"train": 8, "measure": 32, "compare": 16}
    assert found.done == {"train": 0, "measure": 0, "compare": 0}
    assert len({task.id for task in found.tasks}) == 56
    trained = {task.id for task in found.tasks if task.stage == "train"}
    assert all(set(t.needs) <= trained and t.needs for t in found.tasks if t.stage != "train")


def test_a_finished_study_has_nothing_ahead(finished):
    found = planned(finished)
    assert found.tasks == ()
    assert found.done == found.totals


@pytest.mark.parametrize(
    ("section", "changed", "recomputed"),
    [
        ("hessian", {"rtol": 0.4, "max_products": 100}, {"trace"}),
        ("hessian", {"tol": 1e-2, "rtol": 0.5, "max_products": 100}, {"top_eigs"}),
        ("hessian", {"samples": 20, "rtol": 0.5, "max_products": 100}, {"top_eigs", "trace"}),
        ("connectivity", {"epochs": 2}, {"connectivity"}),
        ("cka", {"samples": 24}, {"cka_softmax", "cka_logits"}),
        ("cka", {"samples": 32, "outputs": ["softmax"]}, set()),
    ],
)
def test_an_option_recomputes_what_depends_on_it(finished, section, changed, recomputed):
    options = {**blobs.study()["measure"], section: changed}
    assert metrics(planned(finished, measure=options)) == recomputed


def test_classification_and_plots_recompute_nothing(finished):
    changes = {"classify": {"sharpness_threshold": 9.0}, "plot": {"dpi": 200}}
    assert planned(finished, **changes).tasks == ()


def test_training_options_and_new_seeds_recompute_what_rests_on_them(finished):
    assert planned(finished, training={"epochs": 4}).done == {
        "train": 0,
        "measure": 0,
        "compare": 0,
    }
    grid = {**blobs.study()["grid"], "seeds": [0, 1, 2]}
    assert planned(finished, grid=grid).done == {"train": 8, "measure": 32, "compare": 16}


def test_results_do_not_depend_on_threads_or_the_order_of_tasks(finished, tmp_path):
    backwards = planned(tmp_path, grid=ONE_CELL)
    torch.set_num_threads(2)
    trained = [task for task in backwards.tasks if task.stage == "train"]
    others = [task for task in backwards.tasks if task.stage != "train"]
    for task in [*reversed(trained), *reversed(others)]:
        perform(task.work)
        assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    ours, theirs = contents(tmp_path), contents(finished)
    assert len(ours) == len(backwards.tasks)
    assert ours == {address: theirs[address] for address in ours}


def contents(folder: Path) -> dict[tuple[str, str], object]:
    """Every result of a study as bits and numbers; provenance left out."""
    store = Store(folder / "results")
    return {
        (key, name): {
            field: store.header(key, name)[field] for field in ("fields", "arrays_sha256")
        }
        for key, name in store
    }


def test_measurements_are_those_of_the_public_functions(finished):
    found = planned(finished)
    one, other = found.subjects[:2]
    data = one.recipe.load_dataset()
    models = []
    for subject in (one, other):
        models.append(subject.recipe.build_model(data))
        load_checkpoint(subject.checkpoint, models[-1])
    results = {(w.subjects, w.metric): (w.key, w.name) for w in found.works}
    store = Store(finished / "results")

    stored = store.load(*results[(one,), "top_eigs"])
    expected = top_eigs(models[0], data.batches("train", 128))
    assert torch.allclose(stored.values, expected.values, rtol=1e-4)
    curve = store.load(*results[(one, other), "connectivity"])
    again = connectivity(*models, data.batches("train", 512), epochs=1)
    assert curve.value == pytest.approx(again.value)
    for part in ("train", "test"):
        stored = store.load(*results[(one,), f"quality_{part}"])
        assert stored == quality(models[0], data.batches(part, 512))
    tables = gather(found, store)
    assert tables.pairs[0]["curve_length"] == pytest.approx(float(again.lengths.sum()))
    assert tables.runs[0]["test_loss"] == stored.loss


def test_a_corrupt_result_is_reported_and_computed_again(folder):
    store = Store(folder / "results")
    before = contents(folder)
    key, name = next((key, name) for key, name in store if name.startswith("top_eigs"))
    arrays = store.path(key, name).with_suffix(".npz")
    arrays.write_bytes(arrays.read_bytes()[:-1])
    found = plan(study(), folder, store)
    assert [str(problem.path) for problem in store.problems] == [str(store.path(key, name))]
    assert [(task.work.key, task.work.name) for task in found.tasks] == [(key, name)]
    compute(found)
    assert contents(folder) == before


@pytest.mark.parametrize("damage", ["removed", "changed"])
@pytest.mark.filterwarnings("ignore:checkpoint .* is damaged")
def test_a_checkpoint_that_is_not_the_one_trained_is_trained_again(folder, damage):
    checkpoint = planned(folder).subjects[0].checkpoint
    content = checkpoint.read_bytes()
    checkpoint.unlink() if damage == "removed" else checkpoint.write_bytes(content[:-9])
    found = planned(folder)
    assert [task.stage for task in found.tasks] == ["train"]
    compute(found)
    assert checkpoint.read_bytes() == content
    assert planned(folder).tasks == ()


def test_a_diverged_training_is_an_outcome_and_bars_its_measurements(tmp_path):
    grid = {**blobs.study()["grid"], "seeds": [0]}
    changes = {"grid": grid, "training": {"epochs": 3, "lr": 1e30}}
    found = planned(tmp_path, **changes)
    for task in found.tasks:
        if task.stage == "train":
            with pytest.raises(UnusableError, match="training diverged in epoch"):
                perform(task.work)
    again = planned(tmp_path, **changes)
    assert again.tasks == ()
    assert {outcome.status for outcome in again.barred} == {"skipped"}
    tables = gather(again, Store(tmp_path / "results"))
    assert all(math.isnan(row["hessian_trace"]) and not row["converged"] for row in tables.runs)
    assert not any(row["converged"] for row in tables.cells)


def test_tables_hold_the_means_of_what_was_stored(finished):
    tables = gather(planned(finished), Store(finished / "results"))
    assert [len(rows) for rows in (tables.runs, tables.pairs, tables.cells)] == [8, 4, 4]
    for cell in tables.cells:
        knobs = {"width", "batch_size"}
        runs = [r for r in tables.runs if all(r[knob] == cell[knob] for knob in knobs)]
        (pair,) = [p for p in tables.pairs if all(p[knob] == cell[knob] for knob in knobs)]
        assert cell["n_seeds"] == len(runs) == 2
        assert cell["n_params"] == 2 * cell["width"] + 3 * cell["width"] + 3 * cell["width"] + 3
        traces = [run["hessian_trace"] for run in runs]
        assert cell["log_hessian_trace"] == pytest.approx(math.log(np.mean(traces)))
        assert cell["hessian_trace_std"] == pytest.approx(np.std(traces, ddof=1))
        assert cell["mc_train_err"] == pair["mc_train_err"]
        assert math.isnan(cell["mc_train_err_std"])
        assert pair["tr_err_t000"] >= 0
        assert (pair["seed_i"], pair["seed_j"]) == (0, 1)
        assert cell["converged"] == all(row["converged"] for row in (*runs, pair))


def test_every_measurement_of_several_models_becomes_a_column(folder):
    measure = {
        **blobs.study()["measure"],
        "connectivity": {"epochs": 1, "repeats": 3},
        "line": {"points": 5},
        "agreement": {},
        "ensemble": True,
    }
    new = planned(folder, measure=measure, grid=ONE_CELL)
    assert metrics(new) == {
        "barrier",
        "agreement",
        "ensemble_test",
        "connectivity_2",
        "connectivity_3",
    }
    compute(new)
    found = planned(folder, measure=measure, grid=ONE_CELL)
    assert found.tasks == ()
    tables = gather(found, Store(folder / "results"))
    ((pair,), (cell,)) = tables.pairs, tables.cells
    data = found.subjects[0].recipe.load_dataset()
    models = []
    for subject in found.subjects:
        models.append(subject.recipe.build_model(data))
        load_checkpoint(subject.checkpoint, models[-1])
    line = linear_barrier(*models, data.batches("train", 512), points=5)
    assert pair["barrier_train_err"] == cell["barrier_train_err"] == pytest.approx(line.value)
    same = agreement(*models, data.batches("test", 512))
    assert pair["disagreement"] == cell["disagreement_mean"] == same.disagreement
    assert pair["js_divergence"] == pytest.approx(same.js_divergence)
    together = ensemble_quality(models, data.batches("test", 512))
    assert cell["ensemble_test_acc"] == together.accuracy
    assert cell["ensemble_test_loss"] == pytest.approx(together.loss)
    curves = [
        connectivity(*models, data.batches("train", 512), epochs=1, seed=seed) for seed in range(3)
    ]
    values = [curve.value for curve in curves]
    assert pair["mc_train_err"] == pytest.approx(np.mean(values))
    assert cell["mc_repeat_std"] == pytest.approx(np.std(values, ddof=1))


@pytest.mark.parametrize(("within", "converged"), [(1e-9, False), (100.0, True)])
def test_a_curve_that_longer_training_changes_did_not_converge(folder, within, converged):
    curve = {"epochs": 2, "lr": 1.0, "settled_within": within}
    measure = {**blobs.study()["measure"], "connectivity": curve}
    compute(planned(folder, measure=measure, grid=ONE_CELL))
    found = planned(folder, measure=measure, grid=ONE_CELL)
    tables = gather(found, Store(folder / "results"))
    ((pair,), (cell,)) = tables.pairs, tables.cells
    data = found.subjects[0].recipe.load_dataset()
    models = []
    for subject in found.subjects:
        models.append(subject.recipe.build_model(data))
        load_checkpoint(subject.checkpoint, models[-1])
    longer = connectivity(*models, data.batches("train", 512), epochs=4, lr=1.0)
    assert pair["mc_longer"] == longer.value != pair["mc_train_err"]
    assert (pair["converged"], cell["converged"]) == (converged, converged)


def test_an_unconverged_result_is_kept_and_marks_its_cell(folder):
    tight = {**blobs.study()["measure"], "hessian": {"tol": 1e-13, "max_products": 3}}
    compute(planned(folder, measure=tight, grid=ONE_CELL))
    found = planned(folder, measure=tight, grid=ONE_CELL)
    assert found.tasks == ()
    tables = gather(found, Store(folder / "results"))
    assert not any(row["converged"] for row in tables.cells)
    assert all(math.isfinite(row["log_hessian_trace"]) for row in tables.cells)


@pytest.mark.parametrize(
    "metric", ["train", "quality_test", "trace", "l2_distance", "connectivity"]
)
def test_a_missing_result_marks_its_cell_and_leaves_the_rest(folder, metric):
    found = planned(folder)
    work = next(work for work in found.works if work.metric == metric)
    Store(folder / "results").delete(work.key, work.name)
    cells = gather(found, Store(folder / "results")).cells
    assert [cell["converged"] for cell in cells].count(False) == 1


def checkpoints(folder: Path, target: Path) -> None:
    for subject in planned(folder).subjects:
        width, batch = subject.cell
        shutil.copy(subject.checkpoint, target / f"w{width}_b{batch}_s{subject.seed}.pt")


def test_existing_checkpoints_are_measured_without_training(finished, tmp_path):
    checkpoints(finished, tmp_path)
    pattern = str(tmp_path / "w{width}_b{batch_size}_s{seed}.pt")
    found = planned(tmp_path / "study", checkpoints=pattern)
    assert found.totals == {"measure": 32, "compare": 16}
    compute(found)
    ours = gather(
        planned(tmp_path / "study", checkpoints=pattern), Store(tmp_path / "study/results")
    )
    theirs = gather(planned(finished), Store(finished / "results"))
    assert json.dumps(ours.cells) == json.dumps(theirs.cells)


def test_a_list_of_checkpoints_makes_the_cells_it_names(finished, tmp_path):
    checkpoints(finished, tmp_path)
    grid = {"load": {"knob": "width"}, "temperature": {"knob": "sharpness_penalty"}}
    files = [
        {"path": str(tmp_path / f"w2_b8_s{s}.pt"), "width": 2, "sharpness_penalty": 0.5, "seed": s}
        for s in (0, 1)
    ]
    found = planned(tmp_path / "study", grid=grid, checkpoints=files)
    assert [subject.cell for subject in found.subjects] == [(2, 0.5), (2, 0.5)]
    assert found.totals == {"measure": 8, "compare": 4}


def test_another_file_under_the_same_name_is_another_model(finished, tmp_path):
    checkpoints(finished, tmp_path)
    pattern = str(tmp_path / "w{width}_b{batch_size}_s{seed}.pt")
    before = {subject.key for subject in planned(tmp_path, checkpoints=pattern).subjects}
    shutil.copy(tmp_path / "w2_b8_s1.pt", tmp_path / "w2_b8_s0.pt")
    after = {subject.key for subject in planned(tmp_path, checkpoints=pattern).subjects}
    assert len(before - after) == 1


def test_missing_checkpoints_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"8 of 8 files do not exist: w2_b8_s0\.pt, .*\.\.\."
    ):
        planned(tmp_path, checkpoints="w{width}_b{batch_size}_s{seed}.pt")

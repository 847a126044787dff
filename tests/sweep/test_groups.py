"""Seeds of a cell trained in one task: results of separate ones, each stored for itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import blobs
import pytest
import torch
from serial import Silent, run_serially

from landscape_fast.store import Store
from landscape_fast.sweep import tasks
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.graph import Outcome
from landscape_fast.sweep.plan import Plan, plan
from landscape_fast.sweep.run import Run, run_study
from landscape_fast.sweep.status import status
from landscape_fast.training.checkpoint import read_state_dict

GRID = {
    "load": {"knob": "width", "values": [2, 3]},
    "temperature": {"knob": "batch_size", "values": [8]},
    "seeds": [0, 1, 2],
}


def study(together: object = True, **changes: object) -> Study:
    training = {"epochs": 2, "dtype": "float64", "together": together}
    training |= changes.pop("training", {})
    options = {"grid": GRID, "measure": {"hessian": None, "connectivity": None, "cka": None}}
    return Study.model_validate(blobs.study(**options | changes, training=training))


def run(folder: Path, which: Study) -> Run:
    return run_study(which, folder, lambda plan: Silent(), execute=run_serially)


def planned(folder: Path, which: Study) -> Plan:
    return plan(which, folder, Store(folder / "results"))


def ends(done: Run, stage: str) -> list[Outcome]:
    return [outcome for outcome in done.outcomes if outcome.task.stage == stage]


def trainings(found: Plan) -> dict[str, object]:
    store = Store(found.works[0].store)
    return {w.key: store.load(w.key, w.name) for w in found.works if w.metric == "train"}


@pytest.fixture(scope="module")
def apart(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("apart")
    run(folder, study(together=False))
    return folder


def test_results_are_those_of_separate_trainings_one_for_each_seed(apart, tmp_path):
    done = run(tmp_path, study())
    assert {outcome.status for outcome in done.outcomes} == {"done"}
    assert len(ends(done, "together")) == 2
    assert len(ends(done, "train")) == 6
    found, expected = planned(tmp_path, study()), planned(apart, study(together=False))
    assert found.tasks == expected.tasks == ()
    assert [s.key for s in found.subjects] == [s.key for s in expected.subjects]
    ours, theirs = trainings(found), trainings(expected)
    for one, other in zip(found.subjects, expected.subjects, strict=True):
        mine, its = ours[one.key], theirs[other.key]
        assert (mine.epoch, mine.steps, mine.diverged) == (its.epoch, its.steps, its.diverged)
        assert torch.allclose(mine.losses, its.losses, rtol=1e-11)
        weights = read_state_dict(other.checkpoint)
        for name, value in read_state_dict(one.checkpoint).items():
            assert torch.allclose(value.double(), weights[name].double(), atol=1e-11), name


def test_what_was_trained_apart_is_found_by_a_study_that_trains_together(apart):
    """The identifier of a recipe does not say with whom it was trained."""
    assert planned(apart, study()).tasks == ()


def test_each_seed_is_trained_once_and_its_time_is_its_part(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "fit", lambda *_, **__: pytest.fail("trained a second time"))
    done = run(tmp_path, study())
    assert not done.failures
    seconds = [
        timing.seconds for timing in planned(tmp_path, study()).timed if timing.stage == "train"
    ]
    whole = sum(outcome.seconds for outcome in ends(done, "together"))
    assert 0 < sum(seconds) < whole
    assert seconds[0] == seconds[1] == seconds[2]
    store = Store(tmp_path / "results")
    told = [store.header(*address)["provenance"]["recipe"].get("together") for address in store]
    assert [each for each in told if each] == [[0, 1, 2]] * 6


def test_a_seed_that_diverges_bars_its_own_measurements_alone(tmp_path, monkeypatch):
    together = tasks.fit_together

    def spoiled(recipes, **options):
        fits = together(recipes, **options)
        return [replace(fit, diverged=fit.recipe.seed == 1) for fit in fits]

    monkeypatch.setattr(tasks, "fit_together", spoiled)
    done = run(tmp_path, study())
    assert [outcome.status for outcome in ends(done, "together")] == ["done", "done"]
    for outcome in ends(done, "train"):
        seed = outcome.task.work.subjects[0].seed
        assert outcome.status == ("unusable" if seed == 1 else "done")
    measured = {
        (o.task.work.subjects[0].seed, o.status)
        for o in ends(done, "measure")
        if len(o.task.work.subjects) == 1
    }
    assert measured == {(0, "done"), (1, "skipped"), (2, "done")}


def test_networks_that_cannot_be_trained_together_are_trained_one_by_one(tmp_path):
    done = run(tmp_path, study(model="blobs:dropped"))
    notes = [note for outcome in ends(done, "together") for note in outcome.notes]
    assert all(
        "trained one by one: model 'blobs:dropped' cannot be trained together" in n for n in notes
    )
    assert len(notes) == 2
    assert {outcome.status for outcome in done.outcomes} == {"done"}
    assert len(trainings(planned(tmp_path, study(model="blobs:dropped")))) == 6


def test_a_group_that_fails_leaves_its_seeds_to_themselves_and_is_not_tried_again(
    tmp_path, monkeypatch
):
    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tasks, "fit_together", refuse)
    done = run(tmp_path, study())
    assert [outcome.status for outcome in ends(done, "together")] == ["failed", "failed"]
    assert {outcome.status for outcome in ends(done, "train")} == {"done"}
    found = planned(tmp_path, study())
    for subject in found.subjects:
        subject.checkpoint.unlink()
    again = planned(tmp_path, study())
    assert again.groups == ()
    assert {task.stage for task in again.tasks} == {"train"}
    assert all(task.after == () for task in again.tasks)


def test_the_failure_of_a_group_of_many_seeds_is_recorded(tmp_path):
    """The names of all its seeds would be longer than a file system takes."""
    many = study(grid={**GRID, "seeds": list(range(20))})
    failures = Store(tmp_path / "results").failures
    for group in planned(tmp_path, many).groups:
        failures.record(*group.work.address, "CUDA out of memory", "")
    assert len(list(failures)) == 2
    assert planned(tmp_path, many).groups == ()


def test_only_the_seeds_that_are_left_are_trained_together(apart, tmp_path):
    more = study(grid={**GRID, "seeds": [0, 1, 2, 3, 4]})
    found = planned(apart, more)
    assert [[s.seed for s in task.work.subjects] for task in found.groups] == [[3, 4], [3, 4]]
    assert found.stages == {"together": 2, **found.totals}
    assert found.done["train"] == 6
    one_more = planned(apart, study(grid={**GRID, "seeds": [0, 1, 2, 3]}))
    assert {task.stage for task in one_more.tasks} >= {"train"}
    assert one_more.groups == ()  # one seed is no group


def test_a_forecast_and_the_time_left_count_results_and_not_groups(tmp_path):
    run(tmp_path, study(grid={**GRID, "load": {"knob": "width", "values": [2]}}))
    found = status(study(), tmp_path, Store(tmp_path / "results"))
    assert found.seconds_left is not None
    assert set(found.stages) == {"train", "measure", "compare"}
    done = run(tmp_path, study())
    assert done.predicted.unknown == 0
    assert done.plan.groups
    assert done.predicted.tasks == len(done.plan.tasks)


@pytest.mark.parametrize(
    ("model", "width", "batch", "seeds", "grouped"),
    [
        ("small_cnn", 4, 32, 5, True),
        ("small_cnn", 4, 32, 3, False),
        ("small_cnn", 8, 32, 5, False),
        ("small_cnn", 4, 128, 5, False),
        ("mlp", 4, 32, 5, False),
    ],
)
def test_auto_groups_what_was_measured_to_be_faster(tmp_path, model, width, batch, seeds, grouped):
    grid = {
        "load": {"knob": "width", "values": [width]},
        "temperature": {"knob": "batch_size", "values": [batch]},
        "seeds": list(range(seeds)),
    }
    found = planned(tmp_path, study("auto", model=model, data="digits", grid=grid))
    assert ("together" in found.stages) == grouped


def test_a_study_of_separate_trainings_is_the_default(tmp_path):
    plain = Study.model_validate(blobs.study(grid=GRID))
    assert plain.together is False
    assert "together" not in planned(tmp_path, plain).stages


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"together": "yes"}, "training.together must be true, false or \"auto\", got 'yes'"),
        ({"together": 1}, "got 1"),
        ({"together": True, "channels_last": True}, "which channels_last excludes"),
    ],
)
def test_what_together_may_say(training, message):
    with pytest.raises(ValueError, match=message):
        study(training=training)

"""A study goes on where it was left, by whomever, and keeps what went wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import blobs
import fsspec
import pytest
from serial import Silent, run_serially

from landscape_fast.store import Store, locked
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.run import Run, forget_failures, open_store, run_study
from landscape_fast.sweep.shards import Shard
from landscape_fast.sweep.status import status
from landscape_fast.sweep.tables import gather

FEW = {"hessian": None, "connectivity": None, "cka": None}
GRID = {
    "load": {"knob": "width", "values": [2, 3]},
    "temperature": {"knob": "batch_size", "values": [24]},
    "seeds": [0, 1],
}


def study(**changes: object) -> Study:
    options = {"grid": GRID, "measure": FEW, "training": {"epochs": 1}} | changes
    return Study.model_validate(blobs.study(**options))


def run(folder: Path, which: Study | None = None, **options: object) -> Run:
    chosen = which or study()
    return run_study(chosen, folder, lambda plan: Silent(), execute=run_serially, **options)


def ends(done: Run) -> Counter[str]:
    return Counter(outcome.status for outcome in done.outcomes)


def results(store: Store) -> dict[tuple[str, str], object]:
    return {
        address: [store.header(*address)[name] for name in ("fields", "arrays_sha256")]
        for address in store
    }


@pytest.fixture
def broken(tmp_path) -> Study:
    """Models of width 3 cannot be built; the driver only rehearses width 2."""
    found = study(model="blobs:broken")
    done = run(tmp_path / "out", found)
    assert ends(done)["failed"] == 2
    return found


def test_failures_survive_the_driver_and_are_not_tried_again(broken, tmp_path):
    again = run(tmp_path / "out", broken)
    assert again.plan.tasks == ()
    assert {each.message for each in again.failures} == {"ValueError: width 3 brings bad luck"}
    assert "Traceback" in again.failures[0].detail
    assert all(
        each.message.startswith("needs ") for each in again.outcomes if each.status == "skipped"
    )


def test_forgotten_failures_are_tried_again_and_leave_no_trace(broken, tmp_path, monkeypatch):
    store = open_store(tmp_path / "out")
    assert forget_failures(store) == 2
    monkeypatch.setattr(blobs, "broken", blobs.network)
    done = run(tmp_path / "out", broken)
    assert set(ends(done)) == {"done"}
    assert list(store.failures) == []
    assert status(broken, tmp_path / "out", store).failures == ()


def test_a_model_that_cannot_be_built_fails_its_tasks_and_not_the_forecast(broken, tmp_path):
    forget_failures(open_store(tmp_path / "out"))
    again = run(tmp_path / "out", broken)
    assert ends(again)["failed"] == 2
    assert again.predicted.unknown == again.predicted.tasks > 0


def test_status_counts_without_reading_arrays_or_checkpoints(broken, tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        pytest.fail("it read a checkpoint")

    monkeypatch.setattr("landscape_fast.sweep.plan.file_sha256", refuse)
    found = status(broken, tmp_path / "out", open_store(tmp_path / "out"))
    train = found.stages["train"]
    assert (train.total, train.finished, train.failed, train.left) == (4, 2, 2, 0)
    measured = found.stages["measure"]
    assert measured.finished == measured.skipped == measured.total // 2
    assert found.rate > 0
    assert found.latest is not None
    assert [each.message for each in found.failures] == ["ValueError: width 3 brings bad luck"] * 2


def test_time_left_follows_from_the_pace(tmp_path):
    run(tmp_path, shard=Shard(0, 2))
    found = status(study(), tmp_path, open_store(tmp_path))
    assert {counts.left for counts in found.stages.values()} == {
        counts.finished for counts in found.stages.values()
    }
    assert 0 < found.seconds_left < 60


def test_shards_make_what_one_run_makes(tmp_path):
    run(tmp_path / "one")
    for index in (2, 0, 1):
        run(tmp_path / "parts", shard=Shard(index, 3))
    rest = run(tmp_path / "parts")
    assert rest.plan.tasks == ()
    ours, theirs = Store(tmp_path / "parts/results"), Store(tmp_path / "one/results")
    assert results(ours) == results(theirs)


def test_shards_share_a_folder_and_nobody_else_does(tmp_path):
    part = Shard(1, 2)
    with locked(tmp_path / ".lock", shared=True), locked(tmp_path / ".lock-0-of-2"):
        run(tmp_path, shard=part)
        with pytest.raises(ValueError, match="another process is running a study"):
            run(tmp_path)
        with pytest.raises(ValueError, match="is running shard 0/2"):
            run(tmp_path, shard=Shard(0, 2))
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(ValueError, match="another process is running a study"),
    ):
        run(tmp_path, shard=part)


def test_a_run_is_compared_with_what_the_finished_part_predicted(tmp_path):
    assert run(tmp_path, shard=Shard(0, 2)).predicted.tasks == 0
    done = run(tmp_path)
    assert done.predicted.tasks == len(done.plan.tasks) > 0
    assert done.predicted.unknown == 0
    assert done.predicted.seconds > 0


def test_results_and_weights_behind_a_url_are_those_of_a_folder(tmp_path):
    run(tmp_path / "folder")
    url = "memory://runs/results"
    try:
        store = open_store(tmp_path / "near", url)
        assert not (tmp_path / "near").exists()
        run(tmp_path / "near", shard=Shard(0, 2), store=store)
        for file in (tmp_path / "near/checkpoints").iterdir():
            file.unlink()  # another machine has none
        done = run(tmp_path / "near")  # which remembers the URL
        assert set(ends(done)) == {"done"}
        assert results(store) == results(Store(tmp_path / "folder/results"))
        ours = gather(done.plan, store)
        theirs = gather(run(tmp_path / "folder").plan, Store(tmp_path / "folder/results"))
        assert str(ours) == str(theirs)
        with pytest.raises(ValueError, match="are at memory://runs/results, not at memory://else"):
            open_store(tmp_path / "near", "memory://else")
        with pytest.raises(ValueError, match="holds results already"):
            open_store(tmp_path / "folder", url)
    finally:
        fsspec.filesystem("memory").rm("/runs", recursive=True)


def test_weights_that_are_nowhere_are_trained_again(tmp_path):
    url = "memory://lost/results"
    try:
        store = open_store(tmp_path, url)
        run(tmp_path, store=store)
        key, name = next(address for address in store if address[1].startswith("quality"))
        store.delete(key, name)
        (tmp_path / "checkpoints" / f"{key}.pt").unlink()
        store._files.remove(f"{key}/weights.pt")
        todo = run(tmp_path)
        assert [task.stage for task in todo.plan.tasks] == ["train", "measure"]
        assert set(ends(todo)) == {"done"}
    finally:
        fsspec.filesystem("memory").rm("/lost", recursive=True)

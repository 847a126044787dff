"""A task gets as much of a GPU as the first of its kind took; the meter is a fake one here."""

from __future__ import annotations

from pathlib import Path

import blobs
import pytest
from serial import Silent, run_serially

from landscape_fast.store import Store
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.graph import Task
from landscape_fast.sweep.memory import Memory, Shares, metered
from landscape_fast.sweep.plan import Plan, plan
from landscape_fast.sweep.run import run_study

GIB = 2**30
TOTAL = 64 * GIB


@pytest.mark.parametrize(
    ("peak", "share"),
    [
        (0, 1 / 16),  # a process takes a GiB without any tensor
        (2 * GIB, 1 / 16),  # 1.5 * 2 + 1 = 4 of 64
        (2 * GIB + 1, 2 / 16),
        (20 * GIB, 8 / 16),  # 31 of 64
        (42 * GIB, 1.0),
        (64 * GIB, 1.0),
    ],
)
def test_the_share_is_one_and_a_half_times_the_peak_and_a_gib_in_sixteenths(peak, share):
    assert Memory(peak, TOTAL).share == share


def tasks(*kinds: str, share: float | None = None) -> list[Task]:
    return [
        Task(f"{kind}{i}", "stage", None, kind=kind, share=share) for i, kind in enumerate(kinds)
    ]


def test_the_first_of_a_kind_has_a_whole_gpu_and_the_others_wait_for_its_number():
    a, b, other, c = tasks("a", "a", "b", "a")
    shares = Shares([a, b, other, c], "auto")
    assert [shares.take(task) for task in (a, b, other)] == [1.0, None, 1.0]
    shares.ended(a, Memory(2 * GIB, TOTAL))
    assert shares.take(b) == 1 / 16
    shares.ended(b, Memory(20 * GIB, TOTAL))  # seeds differ: the most counts
    assert shares.take(c) == 0.5


def test_without_a_number_the_next_is_the_first_of_its_kind():
    a, b = tasks("a", "a")
    shares = Shares([a, b], "auto")
    assert (shares.take(a), shares.take(b)) == (1.0, None)
    shares.ended(a, None)  # it failed, or its worker died
    assert shares.take(b) == 1.0


def test_what_an_earlier_run_measured_is_asked_for_at_once():
    a, b = tasks("a", "a", share=0.25)
    shares = Shares([a, b], "auto")
    assert (shares.take(a), shares.take(b)) == (0.25, 0.25)


def test_a_given_share_is_everyones():
    shares = Shares(tasks("a", "b"), 0.3)
    assert [shares.take(task) for task in tasks("a", "a", "b")] == [0.3] * 3


def test_there_is_nothing_to_measure_on_a_cpu():
    assert metered("cpu")() is None


def study(*seeds: int) -> Study:
    grid = {**blobs.study()["grid"], "seeds": list(seeds)}
    measure = {**blobs.study()["measure"], "connectivity": None, "protocol": "yang2021"}
    del measure["hessian"], measure["cka"]
    return Study.model_validate(blobs.study(grid=grid, measure=measure, training={"epochs": 1}))


def planned(folder: Path, *seeds: int) -> Plan:
    return plan(study(*seeds), folder, Store(folder / "results"))


def test_a_kind_is_what_memory_depends_on(tmp_path):
    """The width, the batch that is trained on, one model or two; no seed, also not a drawn one."""
    found = planned(tmp_path, 0, 1, 2)
    kinds = {}
    for task in found.tasks:
        kinds.setdefault((task.work.metric, *task.work.subjects[0].cell), set()).add(task.kind)
    assert {len(each) for each in kinds.values()} == {1}
    (train, other), (eigs, same) = (
        [kinds[metric, 2, batch] for batch in (8, 24)] for metric in ("train", "top_eigs")
    )
    assert train != other
    assert eigs == same
    assert kinds["top_eigs", 3, 8] != eigs


def test_memory_is_stored_with_the_result_and_found_by_the_next_plan(tmp_path, monkeypatch):
    peaks = {"train": 2 * GIB, "cka_softmax": 20 * GIB}
    seen = []

    def fake(device: str):
        seen.append(device)
        metric = current.pop()
        return lambda: Memory(peaks.get(metric, 0), TOTAL)

    current: list[str] = []
    monkeypatch.setattr("landscape_fast.sweep.tasks.metered", fake)
    replies = []

    def execute(tasks, perform, observer):
        def told(work):
            current.append(work.metric)
            replies.append(perform(work))

        return run_serially(tasks, told, observer)

    done = run_study(study(0, 1), tmp_path, lambda plan: Silent(), execute=execute)
    assert {outcome.status for outcome in done.outcomes} == {"done"}
    assert set(replies) == {Memory(peak, TOTAL) for peak in (0, 2 * GIB, 20 * GIB)}
    assert set(seen) == {"cpu"}
    store = Store(tmp_path / "results")
    key, name = next(address for address in store if address[1].startswith("train"))
    assert store.header(key, name)["provenance"]["memory"] == {"peak": 2 * GIB, "total": TOTAL}
    asked = {task.work.metric: task.share for task in planned(tmp_path, 0, 1, 2).tasks}
    assert (asked["train"], asked["cka_softmax"], asked["top_eigs"]) == (1 / 16, 0.5, 1 / 16)

"""Tasks run after what they need, and what can never run is skipped."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.sweep.graph import Schedule, Task


def task(id: str, *needs: str, stage: str = "one", cost: float = 1.0) -> Task:
    return Task(id, stage, None, needs=needs, cost=cost)


def drained(schedule: Schedule) -> list[str]:
    """Ids in the order of a single worker."""
    order = []
    while found := schedule.next():
        order.append(found.id)
        schedule.finish(found, usable=True)
    return order


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 12))
    needs = [draw(st.sets(st.integers(0, i - 1))) if i else set() for i in range(size)]
    costs = [draw(st.floats(0, 10)) for _ in range(size)]
    tasks = [
        task(str(i), *(str(need) for need in needs[i]), cost=costs[i], stage=str(i % 3))
        for i in range(size)
    ]
    random.Random(draw(st.integers())).shuffle(tasks)
    return tasks


@given(graphs())
def test_every_task_runs_once_and_after_what_it_needs(tasks):
    schedule = Schedule(tasks)
    order = drained(schedule)
    assert sorted(order) == sorted(task.id for task in tasks)
    for each in tasks:
        assert all(order.index(need) < order.index(each.id) for need in each.needs)
    assert schedule.unfinished == 0


@given(graphs(), st.integers(0, 11))
def test_an_unusable_task_skips_exactly_what_rests_on_it(tasks, chosen):
    bad = str(chosen % len(tasks))
    rests = {bad}
    for each in sorted(tasks, key=lambda task: int(task.id)):
        if rests & set(each.needs):
            rests.add(each.id)
    schedule, ran, skipped = Schedule(tasks), [], []
    while found := schedule.next():
        ran.append(found.id)
        skipped += [s.id for s in schedule.finish(found, usable=found.id != bad)]
    assert sorted(skipped) == sorted(rests - {bad})
    assert sorted(ran) == sorted({task.id for task in tasks} - rests | {bad})
    assert schedule.unfinished == 0


def test_what_only_comes_after_a_task_waits_for_its_end_and_not_for_its_success():
    first = task("first", stage="early")
    follower = Task("follower", "late", None, after=("first", "gone"))
    for usable in (True, False):
        schedule = Schedule([follower, first])
        assert schedule.next() is first
        assert schedule.next() is None
        assert schedule.finish(first, usable=usable) == []
        assert schedule.next() is follower
    with pytest.raises(ValueError, match="circle"):
        Schedule([Task("a", "s", None, after=("b",)), Task("b", "s", None, needs=("a",))])


def test_stages_come_in_order_and_long_tasks_first():
    tasks = [task("a", cost=1), task("x", stage="two"), task("b", cost=3), task("c", cost=2)]
    assert drained(Schedule(tasks)) == ["b", "c", "a", "x"]


def test_a_task_that_is_put_back_comes_again():
    schedule = Schedule([task("a")])
    first = schedule.next()
    assert schedule.next() is None
    schedule.put_back(first)
    assert schedule.next() is first


def test_needs_that_are_not_to_be_run_count_as_done():
    assert Schedule([task("a", "done before")]).next().id == "a"


def test_circles_and_double_ids_are_refused():
    with pytest.raises(ValueError, match="circle: a, b"):
        Schedule([task("a", "b"), task("b", "a"), task("c")])
    with pytest.raises(ValueError, match="same id"):
        Schedule([task("a"), task("a")])

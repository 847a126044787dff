"""A prediction follows parameters, rows and epochs, and says how far it may be off."""

from __future__ import annotations

import math
import random

import blobs
import pytest

from landscape_fast.store import Store
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.cost import Timing, predict
from landscape_fast.sweep.plan import plan
from landscape_fast.sweep.tasks import Work


@pytest.fixture
def works(tmp_path) -> list[Work]:
    grid = {
        "load": {"knob": "width", "values": [2, 4, 8, 16, 32]},
        "temperature": {"knob": "batch_size", "values": [4, 8, 24]},
        "seeds": [0, 1],
    }
    study = Study.model_validate(blobs.study(grid=grid))
    return list(plan(study, tmp_path, Store(tmp_path / "results")).works)


def parameters(work: Work) -> int:
    width = work.subjects[0].recipe.width
    return 2 * width + 3 * width + 3 * width + 3


def truth(work: Work) -> float:
    """Seconds of a machine that spends them on starting, steps and arithmetic."""
    recipe = work.subjects[0].recipe
    if work.metric == "train":
        return 0.1 + 3 * (1e-2 * 48 / recipe.batch_size + 1e-5 * 48 * parameters(work))
    return 0.2 + 1e-4 * 48 * parameters(work)


def timings(works: list[Work], noise: float = 0.0) -> list[Timing]:
    draw = random.Random(0)
    return [
        Timing(work, "stage", truth(work) * math.exp(draw.gauss(0, noise)), "") for work in works
    ]


def test_times_of_unseen_cells_follow_from_a_few(works):
    asked = [work for work in works if work.metric in ("train", "quality_test")]
    known = [w for w in asked if w.subjects[0].recipe.width in (2, 8)]
    rest = [w for w in asked if w not in known]
    found = predict(timings(known), rest)
    for metric in ("train", "quality_test"):
        exact = sum(truth(work) for work in rest if work.metric == metric)
        assert found[metric].seconds == pytest.approx(exact, rel=1e-3)
        assert found[metric].low == pytest.approx(exact, rel=1e-2)
        assert found[metric].high == pytest.approx(exact, rel=1e-2)


def test_the_range_covers_the_truth_when_times_scatter(works):
    asked = [work for work in works if work.metric == "train"]
    known = [w for w in asked if w.subjects[0].recipe.width in (2, 4, 16)]
    rest = [w for w in asked if w not in known]
    cost = predict(timings(known, noise=0.2), rest)["train"]
    exact = sum(map(truth, rest))
    assert cost.low < exact < cost.high
    assert cost.high > 1.05 * cost.seconds


def test_fewer_than_three_cells_give_no_range(works):
    train = [work for work in works if work.metric == "train"]
    cost = predict(timings(train[:4]), train)["train"]
    assert cost.seconds > 0
    assert math.isnan(cost.low)
    assert math.isnan(cost.high)


def test_kinds_that_were_never_timed_are_counted_apart(works):
    train = [work for work in works if work.metric == "train"]
    found = predict(timings(train), works)
    assert found["connectivity"].unknown == found["connectivity"].tasks == 15
    assert found["connectivity"].seconds == 0.0
    total = found["train"] + found["connectivity"]
    assert (total.tasks, total.unknown) == (45, 15)

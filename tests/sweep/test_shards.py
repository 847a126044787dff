"""Shards share out the cells of a study: each cell once, in about equal parts."""

from __future__ import annotations

import blobs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.sweep.config import Study
from landscape_fast.sweep.shards import Shard, _effort
from landscape_fast.sweep.subjects import Subject, cells_of, subjects_of


def subjects(folder, widths: int, batches: int, seeds: int = 2) -> list[Subject]:
    grid = {
        "load": {"knob": "width", "values": list(range(1, widths + 1))},
        "temperature": {"knob": "batch_size", "values": [8 * 2**i for i in range(batches)]},
        "seeds": list(range(seeds)),
    }
    return subjects_of(Study.model_validate(blobs.study(grid=grid)), folder)


@given(widths=st.integers(1, 5), batches=st.integers(1, 4), count=st.integers(1, 9))
def test_every_model_is_in_one_shard_with_its_whole_cell(tmp_path_factory, widths, batches, count):
    everything = subjects(tmp_path_factory.getbasetemp(), widths, batches)
    parts = [Shard(i, count).choose(everything) for i in range(count)]
    keys = [subject.key for part in parts for subject in part]
    assert sorted(keys) == sorted(subject.key for subject in everything)
    for part in parts:
        assert all(len(members) == 2 for members in cells_of(part).values())
        assert part == [subject for subject in everything if subject in part]


def test_shards_take_about_the_same_time(tmp_path):
    everything = subjects(tmp_path, 12, 8, seeds=1)
    efforts = [sum(_effort(s.recipe) for s in Shard(i, 6).choose(everything)) for i in range(6)]
    assert max(efforts) < 1.2 * min(efforts)


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "1/0", "a/b", "1/2/3"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="shard must be i/n with i from 0 to n - 1"):
        Shard.parse(text)

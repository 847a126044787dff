from __future__ import annotations

from collections import UserDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import cut

from landscape_fast.metrics.minibatches import Minibatches


def rng(seed=0):
    return np.random.default_rng(seed)


def table(rows):
    return torch.arange(rows * 2.0).reshape(rows, 2), torch.arange(rows)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 40))
def test_a_pass_holds_every_row_once_whatever_the_cut(sizes, size):
    data = table(sum(sizes))
    drawn = list(Minibatches(cut(data, sizes), size).shuffled(rng()))
    same = list(Minibatches([data], size).shuffled(rng()))
    for (inputs, targets), (inputs_too, _) in zip(drawn, same, strict=True):
        assert torch.equal(inputs, inputs_too)
        assert torch.equal(inputs[:, 0], 2.0 * targets)  # rows stay with their targets
    assert sorted(torch.cat([targets for _, targets in drawn]).tolist()) == list(range(sum(sizes)))


@pytest.mark.parametrize(
    ("rows", "sizes"), [(10, [4, 4, 2]), (8, [4, 4]), (9, [4, 5]), (1, [1]), (3, [3])]
)
def test_a_single_row_left_over_joins_the_batch_before(rows, sizes):
    drawn = Minibatches([table(rows)], 4).shuffled(rng())
    assert [len(targets) for _, targets in drawn] == sizes


def test_every_pass_has_another_order_and_a_seed_repeats_it():
    data, generator = Minibatches([table(50)], 50), rng()
    first, second = (next(data.shuffled(generator))[1].tolist() for _ in range(2))
    assert first != second
    assert first != list(range(50))
    assert next(data.shuffled(rng()))[1].tolist() == first


def test_a_limit_draws_that_many_different_rows_from_all_of_the_data():
    data = Minibatches(cut(table(100), [50, 50]), 8)
    drawn = torch.cat([targets for _, targets in data.shuffled(rng(), 20)])
    assert len(set(drawn.tolist())) == 20
    assert drawn.max() >= 50 > drawn.min()
    assert sum(len(targets) for _, targets in data.shuffled(rng(), 500)) == 100


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x, y: {"inputs": x, "labels": y},
        lambda x, y: UserDict(inputs=x, labels=y),
        lambda x, y: ((x, x + 1), [y]),
    ],
)
def test_rows_of_nested_batches_are_shuffled_together(wrap):
    batches = [wrap(x, y) for x, y in cut(table(12), [5, 7])]
    drawn = list(Minibatches(batches, 6).shuffled(rng()))
    assert [type(batch) for batch in drawn] == [type(batches[0])] * 2
    if isinstance(drawn[0], tuple):
        (x, x_plus), [y] = drawn[0]
        assert torch.equal(x + 1, x_plus)
    else:
        x, y = drawn[0]["inputs"], drawn[0]["labels"]
    assert len(x) == 6
    assert torch.equal(x[:, 0], 2.0 * y)
    assert y.tolist() != sorted(y.tolist())


def padded(lengths):
    return [(torch.full((2, n), n), torch.tensor([n, n])) for n in lengths]


@pytest.mark.parametrize(
    "batches",
    [
        padded([3, 5, 4, 6]),
        [(torch.full((2, 1), n), ["a", "b"]) for n in (3, 5, 4, 6)],
        [(torch.full((2, 1), n), torch.tensor(0)) for n in (3, 5, 4, 6)],
    ],
)
def test_batches_that_do_not_fit_together_stay_whole_in_a_random_order(batches):
    data, generator = Minibatches(batches, 128), rng()
    passes = [[int(batch[0][0, 0]) for batch in data.shuffled(generator)] for _ in range(4)]
    assert all(sorted(one) == [3, 4, 5, 6] for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_a_limit_cuts_the_last_whole_batch():
    drawn = list(Minibatches(padded([3, 5, 4, 6]), 128).shuffled(rng(), 5))
    assert [len(targets) for _, targets in drawn] == [2, 2, 1]
    assert len(list(Minibatches(padded([3, 5]), 128).shuffled(rng(), 4))) == 2
    assert len(list(Minibatches(padded([3, 5]), 128).shuffled(rng(), 2))) == 1

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import classification, cut
from torch.utils.data import DataLoader, TensorDataset

from landscape_fast.linearise.batches import Batches


def gathered(batches):
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def test_a_shuffling_augmenting_loader_becomes_one_fixed_data_set():
    x, y = classification(20)
    loader = DataLoader(
        TensorDataset(x, y),
        batch_size=6,
        shuffle=True,
        collate_fn=lambda items: (
            torch.stack([a + torch.randn(()) for a, _ in items]),
            torch.stack([b for _, b in items]),
        ),
    )
    batches = Batches(loader, device="cpu")
    first, second = gathered(batches), gathered(batches)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert (len(batches), batches.samples) == (4, 20)


def test_a_generator_can_be_read_many_times():
    batches = Batches((pair for pair in cut(classification(5), [3, 2])), device="cpu")
    assert [len(gathered(batches)[1]) for _ in range(3)] == [5, 5, 5]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_loader_that_refills_its_buffers_is_kept_right(count):
    buffers = [torch.empty(2, 1) for _ in range(count)]

    def refill():
        for value in range(7):
            buffer = buffers[value % count].fill_(value)
            yield buffer, torch.zeros(2)

    batches = Batches(refill(), device="cpu")
    for _ in range(2):
        assert [float(x[0, 0]) for x, _ in batches] == [0, 1, 2, 3, 4, 5, 6]


def test_over_budget_data_is_read_again_and_may_come_in_another_order():
    data = TensorDataset(*classification(20))
    batches = Batches(DataLoader(data, batch_size=6, shuffle=True), device="cpu", memory_budget=100)
    first, second = gathered(batches)[0], gathered(batches)[0]
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(0).values, second.sort(0).values)


@pytest.mark.parametrize("count", [1, 2])
def test_refilled_buffers_are_read_right_beyond_the_budget(count):
    class Refilling:
        def __iter__(self):
            buffers = [torch.empty(2, 1) for _ in range(count)]
            for value in range(5):
                yield buffers[value % count].fill_(value), torch.zeros(2)

    batches = Batches(Refilling(), device="cpu", memory_budget=40)
    for _ in range(2):
        assert [float(x[0, 0]) for x, _ in batches] == [0, 1, 2, 3, 4]


def test_a_list_of_a_class_of_its_own_is_copied():
    class Refilling(list):
        def __iter__(self):
            for value in range(3):
                self[0][0].fill_(value)
                yield self[0]

    batches = Batches(Refilling([(torch.empty(2, 1), torch.zeros(2))]), device="cpu")
    assert [float(x[0, 0]) for x, _ in batches] == [0, 1, 2]


def test_tensors_of_a_list_that_change_in_place_are_noticed():
    x = torch.zeros(2, 1)
    batches = Batches([(x, torch.zeros(2))], device="cpu")
    list(batches)
    x[0] = 1
    with pytest.raises(ValueError, match="changed in place since the first pass"):
        list(batches)
    batches.accept()
    assert len(list(batches)) == 1


def test_over_budget_data_that_changes_between_passes_is_an_error():
    x, y = classification(20)

    class Augmenting:
        def __iter__(self):
            yield x + torch.randn_like(x), y

    batches = Batches(Augmenting(), device="cpu", memory_budget=0)
    with pytest.raises(ValueError, match="other samples on a later pass"):
        list(batches)


@given(st.integers(0, 19), st.integers(0, 4))
def test_one_changed_number_or_label_is_noticed_beyond_the_budget(row, column):
    x, y = classification(20)
    passes = iter([x, x.clone()])

    class Changing:
        def __iter__(self):
            yield next(passes), y

    batches = Batches(Changing(), device="cpu", memory_budget=0)
    x_second = x.clone()
    x_second[row, column] += 1e-3
    passes = iter([x_second])
    with pytest.raises(ValueError, match="other samples"):
        list(batches)


def test_samples_that_swap_their_labels_are_noticed():
    x, y = classification(20)
    labels = iter([y, y.flip(0)])

    class Swapping:
        def __iter__(self):
            yield x, next(labels)

    batches = Batches(Swapping(), device="cpu", memory_budget=0)
    with pytest.raises(ValueError, match="other samples"):
        list(batches)


@pytest.mark.parametrize("budget", [None, 0])
def test_batches_without_rows_are_left_out(budget):
    x, y = classification(5)
    data = [(x[:0], y[:0]), (x[:3], y[:3]), (x[:0], y[:0]), (x[3:], y[3:])]
    batches = Batches(data, device="cpu", memory_budget=budget)
    for _ in range(2):
        assert [len(labels) for _, labels in batches] == [3, 2]
    assert (len(batches), batches.samples) == (2, 5)


def test_a_large_generator_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"generator of \d+ bytes.*memory_budget"):
        Batches(iter(cut(classification(5), [5])), device="cpu", memory_budget=10)


@pytest.mark.parametrize(
    ("loader", "error", "text"),
    [
        ([], ValueError, "loader is empty"),
        ([(torch.ones(0, 2), torch.ones(0))], ValueError, "loader is empty: .* holds a row"),
        (3, TypeError, "loader must be an iterable"),
        (torch.ones(3, 2), TypeError, "single tensor"),
        ([("a", "b")], ValueError, "without a tensor"),
        ([(torch.eye(3).to_sparse(), torch.ones(3))], TypeError, "layout torch.sparse_coo"),
    ],
)
def test_a_loader_that_cannot_be_measured_is_named(loader, error, text):
    with pytest.raises(error, match=text):
        Batches(loader, device="cpu")

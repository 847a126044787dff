"""Primal values are kept while the budget lasts, and never outlive the numbers they came from."""

from __future__ import annotations

import pytest
import torch
from oracles import assert_relative, classification, cut, mlp

from landscape_fast.linearise import captured, cuts, residency
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.residency import _same_at_once, same_numbers, together


def operator(**options):
    torch.manual_seed(0)
    model = mlp().double().eval()
    loader = [(x.double(), y) for x, y in cut(classification(24), [12, 12])]
    return model, HessianOperator(model, loader, engine="captured", **options)


def kept(op):
    return op._engine._residency


@pytest.fixture(autouse=True)
def keep_at_once(request, monkeypatch):
    if "patient" not in request.fixturenames:
        monkeypatch.setitem(residency.PASSES_BEFORE, "cpu", 0)


@pytest.fixture
def patient():
    return residency.PASSES_BEFORE["cpu"]


def test_first_passes_on_a_cpu_keep_nothing_and_later_ones_change_no_bit(patient):
    _, op = operator()
    v = torch.randn(2, op.shape[0], dtype=torch.float64)
    found, sizes = [], []
    for _ in range(patient + 2):
        found.append(op(v))
        sizes.append(kept(op).nbytes)
    assert sizes[:patient] == [0] * patient
    assert sizes[patient] == sizes[patient + 1] > 0
    assert all(torch.equal(one, found[0]) for one in found)


def test_without_a_budget_no_pass_prepares_a_piece_again(patient):
    _, op = operator(values_budget=0)
    v = torch.randn(1, op.shape[0], dtype=torch.float64)
    for _ in range(patient + 1):
        op(v)
    before = dict(kept(op)._pieces)
    op(v)
    assert all(kept(op)._pieces[key] is piece for key, piece in before.items())


@pytest.mark.parametrize("budget", [0, 3000, 10**9])
def test_the_budget_changes_no_bit_and_is_respected(budget, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 100)
    monkeypatch.setitem(cuts.FEWEST_ROWS, "gradient", 8)
    _, op = operator(values_budget=budget)
    _, free = operator()
    v = torch.randn(2, op.shape[0], dtype=torch.float64)
    for _ in range(3):
        assert torch.equal(op(v), free(v))
    assert kept(op).nbytes <= budget
    if budget:
        assert kept(op).nbytes > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.data.mul_(1.5),
        lambda p: p.data[..., 0].neg_(),
        lambda p: setattr(p, "data", p.data + 1),
        lambda p: torch.no_grad()(p.add_)(0.5),
    ],
)
def test_a_changed_parameter_is_noticed_however_it_was_changed(change):
    model, op = operator()
    v = torch.randn(2, op.shape[0], dtype=torch.float64)
    op(v), op.quadratic(v)
    change(next(model.parameters()))
    loader = [(x.double(), y) for x, y in cut(classification(24), [12, 12])]
    fresh = HessianOperator(model, loader, engine="autograd")
    assert_relative(op(v), fresh(v), 1e-12)
    assert_relative(op.quadratic(v), fresh.quadratic(v), 1e-12)


def test_a_loader_too_large_to_keep_keeps_no_values():
    _, op = operator(memory_budget=1)
    op(torch.randn(2, op.shape[0], dtype=torch.float64))
    assert kept(op).nbytes == 0


def test_another_block_size_makes_room():
    _, op = operator()
    for k in (1, 8, 1):
        op(torch.randn(k, op.shape[0], dtype=torch.float64))
    once = kept(op).nbytes
    op(torch.randn(1, op.shape[0], dtype=torch.float64))
    assert kept(op).nbytes == once


def test_a_long_block_goes_through_in_parts(monkeypatch):
    _, op = operator()
    v = torch.randn(7, op.shape[0], dtype=torch.float64)
    whole, forms = op(v), op.quadratic(v)
    monkeypatch.setattr(cuts, "WIDEST_ELEMENTS", dict.fromkeys(cuts.WIDEST_ELEMENTS, 1))
    monkeypatch.setattr(cuts, "FEWEST_VECTORS", 1)
    widths = []
    inner = captured.CapturedEngine._products
    monkeypatch.setattr(
        captured.CapturedEngine,
        "_products",
        lambda self, b, dots, *more: widths.append(len(dots[0])) or inner(self, b, dots, *more),
    )
    assert_relative(op(v), whole, 1e-13)
    assert_relative(op.quadratic(v), forms, 1e-13)
    assert set(widths) == {1}


def test_out_of_memory_halves_the_block_then_drops_what_is_kept(monkeypatch):
    _, op = operator()
    v = torch.randn(8, op.shape[0], dtype=torch.float64)
    expected = op(v)
    inner = captured.CapturedEngine._products

    def short_of_memory(self, batch, dots, *more):
        if len(dots[0]) > 2 or self._residency.nbytes > 0:
            raise torch.OutOfMemoryError("no memory")
        return inner(self, batch, dots, *more)

    monkeypatch.setattr(captured.CapturedEngine, "_products", short_of_memory)
    assert_relative(op(v), expected, 1e-13)
    monkeypatch.setattr(
        captured.CapturedEngine,
        "_products",
        lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no memory")),
    )
    with pytest.raises(torch.OutOfMemoryError):
        op(v)


@pytest.mark.parametrize("separable", [True, False])
def test_a_ragged_last_batch_does_not_push_out_what_is_kept(separable):
    model = mlp().double().eval()
    loader = [(x.double(), y) for x, y in cut(classification(24), [10, 10, 4])]
    op = HessianOperator(model, loader, engine="captured")
    op._engine._separable = separable  # else batches go through whole, as they do on a device
    v = torch.randn(2, op.shape[0], dtype=torch.float64)
    op(v)
    before = dict(kept(op)._pieces)
    assert len(before) == 3
    op(v)
    assert all(kept(op)._pieces[key] is piece for key, piece in before.items())


def changed(tensors, place, value):
    other = [tensor.clone() for tensor in tensors]
    other[place].view(-1)[-1] = value
    return other


@pytest.mark.parametrize("same", [same_numbers, _same_at_once])
def test_one_comparison_of_all_numbers_sees_each(same):
    numbers = [
        torch.tensor([1.0, 2.0]),
        torch.tensor([1e-45, 3e38]),
        torch.tensor([[1.0]], dtype=torch.float64),
        torch.tensor([1.0, 65504.0], dtype=torch.float16),
        torch.tensor(7),
        torch.tensor([True, False]),
        torch.tensor([1 + 2j]),
        torch.empty(0),
    ]
    assert same(numbers, [tensor.clone() for tensor in numbers])
    changes = [2.0000002, -3e38, 1 + 2e-16, -65504.0, 8, True, 1 - 2j]
    for place, value in enumerate(changes):
        if place == 2:
            value = torch.nextafter(torch.tensor(1.0).double(), torch.tensor(2.0).double())
        assert not same(numbers, changed(numbers, place, value)), numbers[place].dtype
    tiny = changed(numbers, 1, 3e38)
    tiny[1][0] = 0  # from the smallest number there is
    assert not same(numbers, tiny)
    assert not same(numbers, changed(numbers, 0, float("nan")))
    assert not same(numbers, [numbers[0].flip(0), *numbers[1:]])  # changes that cancel


def test_another_shape_dtype_or_count_is_no_equal_number():
    one = [torch.ones(2)]
    assert not same_numbers(one, [torch.ones(1, 2)])
    assert not same_numbers(one, [torch.ones(2).double()])
    assert not same_numbers(one, [])


def test_values_lie_together_with_their_shapes_strides_and_aliases():
    base = torch.arange(24.0).reshape(4, 6)
    given = torch.ones(3)
    values = [
        base.T,
        base[1:, ::2],
        (torch.tensor([True, False]), None, 7),
        torch.full((), 2.0).expand(5, 5),
        given[1:],
        torch.zeros(0),
        torch.tensor([1 + 2j]),
    ]
    moved = together(values, [given])
    for one, other in zip(values, moved, strict=True):
        if isinstance(one, torch.Tensor):
            assert torch.equal(one, other)
            assert (one.stride(), one.dtype) == (other.stride(), other.dtype)
    assert torch.equal(moved[2][0], values[2][0])
    assert moved[2][1:] == (None, 7)
    assert moved[4].data_ptr() == given[1:].data_ptr()
    storages = [moved[i].untyped_storage().data_ptr() for i in (0, 1, 3, 6)]
    assert len(set(storages)) == 1
    assert moved[0][2, 1] == moved[1][0, 1]
    moved[0][2, 1] = -1.0
    assert moved[1][0, 1] == -1.0
    assert base[1, 2] != -1.0


def test_values_of_inputs_alone_stay_where_they_are():
    given = torch.ones(3)
    assert together([given, None], [given])[0] is given

"""Recorded passes: the same numbers as passes that run, and never others."""

from __future__ import annotations

import pytest
import torch
from oracles import assert_relative, classification, cut, mlp

from landscape_fast import GGNOperator, HessianOperator
from landscape_fast.linearise import replay, residency


class Rerun:
    """Plays work by running it again, at the addresses it was recorded with."""

    def __init__(self) -> None:
        self.recorded = 0
        self.played = 0

    def record(self, work):
        self.recorded += 1

        def play():
            self.played += 1
            work()

        return play


@pytest.fixture
def recorder(monkeypatch):
    recorder = Rerun()
    monkeypatch.setattr(replay, "recorder_for", lambda device: recorder)
    monkeypatch.setitem(residency.PASSES_BEFORE, "cpu", 0)  # as on a device
    return recorder


def data():
    return [(x.double(), y) for x, y in cut(classification(24), [10, 10, 4])]


def operator(kind=HessianOperator, **options):
    torch.manual_seed(0)
    model = mlp().double().eval()
    op = kind(model, data(), engine="captured", **options)
    op._engine._separable = False  # batches go through whole, as they do on a device
    return model, op


def vectors(op, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, op.shape[0], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", [HessianOperator, GGNOperator])
def test_played_passes_give_what_passes_give(recorder, monkeypatch, kind):
    _, played = operator(kind)
    monkeypatch.setattr(replay, "recorder_for", lambda device: None)
    _, plain = operator(kind)
    for turn in range(4):
        for count in (1, 3):
            v = vectors(plain, count, seed=turn)
            assert_relative(played(v), plain(v), 1e-14)
            assert_relative(played.quadratic(v), plain.quadratic(v), 1e-14)
    # Three batches, two numbers of vectors, products and forms: recorded once, then played.
    assert recorder.recorded == 12
    assert recorder.played == 12 + 2 * 12
    assert played._engine._passes.note is None


def test_results_survive_later_products(recorder):
    _, op = operator()
    first, v = None, vectors(op, 2)
    for turn in range(4):
        kept, first = first, op(v)
        expected = first.clone()
        op(vectors(op, 2, seed=turn + 1))
        assert torch.equal(first, expected)
        assert kept is None or torch.equal(kept, expected)


def test_other_numbers_in_the_model_are_never_played_over(recorder):
    model, op = operator()
    v = vectors(op, 2)
    for _ in range(3):
        op(v)
    next(model.parameters()).data.mul_(1.5)
    fresh = HessianOperator(model, data(), engine="autograd")
    for _ in range(3):
        assert_relative(op(v), fresh(v), 1e-12)


class Wrong(Rerun):
    def record(self, work):
        return lambda: work and None


class Refused(Rerun):
    def record(self, work):
        work()  # as far as it came
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize(("kind", "note"), [(Wrong, "differs"), (Refused, "not permitted")])
def test_a_graph_that_cannot_be_trusted_is_not_used(monkeypatch, kind, note):
    monkeypatch.setattr(replay, "recorder_for", lambda device: kind())
    _, op = operator()
    monkeypatch.setattr(replay, "recorder_for", lambda device: None)
    _, plain = operator()
    v = vectors(op, 2)
    for _ in range(4):
        assert_relative(op(v), plain(v), 1e-14)
    assert note in op._engine._passes.note
    assert op._engine._passes.graphs == 0


def test_nothing_is_recorded_where_nothing_may_be_kept(recorder):
    _, op = operator(values_budget=0)
    for _ in range(3):
        op(vectors(op, 2))
    assert recorder.recorded == 0


def test_only_so_many_numbers_of_vectors_take_fixed_memory(recorder):
    _, op = operator()
    for count in range(1, 8):
        for _ in range(3):
            op(vectors(op, count))
    assert len(op._engine._passes._frames) == replay.MOST_FRAMES


@pytest.mark.gpu
def test_graphs_on_a_device_agree_with_passes(monkeypatch, cuda):
    def products(record):
        with monkeypatch.context() as patch:
            if not record:
                patch.setattr(replay, "recorder_for", lambda device: None)
            torch.manual_seed(0)
            model = mlp().to(cuda).eval()
            batches = [(x.float().to(cuda), y.to(cuda)) for x, y in data()]
            op = HessianOperator(model, batches, engine="captured")
        v = vectors(op, 8).float().to(cuda)
        return op, [op(v) for _ in range(4)], [op.quadratic(v) for _ in range(4)]

    op, ours, forms = products(True)
    _, plain, plain_forms = products(False)
    assert op._engine._passes.graphs == 6
    assert op._engine._passes.note is None
    for one, other in zip([*ours, *forms], [*plain, *plain_forms], strict=True):
        assert_relative(one, other, 1e-5)

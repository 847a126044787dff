"""The curves of a training run agree with dense matrices at every point, and points are cheap."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_same_state, classification, cut, dense_hessian, mlp, snapshot

from landscape_fast.metrics.track import Tracker


def trained(tracker, model, data, steps, lr=0.5):
    """Descend on ``data``; what the tracker returned, and copies of the model at these steps."""
    import copy

    optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    returned, copies = [], []
    for step in range(steps):
        found = tracker(step)
        returned.append(found)
        if found is not None:
            copies.append(copy.deepcopy(model))
        optimiser.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        optimiser.step()
    return returned, copies


def double(rows=24):
    x, y = classification(rows)
    return x.double(), y


def test_every_point_is_what_the_dense_matrix_and_gradient_of_its_step_say():
    model, data = mlp().double(), double()
    tracker = Tracker(model, cut(data, [10, 10, 4]), k=3, every=10, tol=1e-8, draws=60)
    returned, copies = trained(tracker, model, data, 25)
    assert [point is not None for point in returned] == [step % 10 == 0 for step in range(25)]
    assert [point.step for point in tracker.points] == [0, 10, 20]
    for point, then in zip(tracker.points, copies, strict=True):
        matrix = dense_hessian(then, lambda call: F.cross_entropy(call(data[0]), data[1]))
        values, vectors = torch.linalg.eigh(matrix)
        loss = F.cross_entropy(then(data[0]), data[1])
        gradient = torch.cat(
            [g.reshape(-1) for g in torch.autograd.grad(loss, list(then.parameters()))]
        )
        top = vectors[:, -3:].T.flip(0)
        inside = (top @ gradient).norm() / gradient.norm()
        assert point.values.tolist() == pytest.approx(values[-3:].flip(0).tolist(), rel=1e-7)
        assert point.loss == pytest.approx(float(loss.detach()), rel=1e-12)
        assert point.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-10)
        assert point.alignment == pytest.approx(float(inside), rel=1e-4)
        assert point.share == pytest.approx(float(inside) ** 2, rel=1e-4)
        assert point.cosines.tolist() == pytest.approx(
            ((top @ gradient) / gradient.norm()).abs().tolist(), abs=1e-4
        )
        assert abs(point.trace - float(matrix.trace())) < 4 * point.trace_stderr
        assert point.converged
        assert point.samples == 24


def test_the_last_eigenvector_saves_products_for_one_eigenvalue_that_moves_slowly():
    spent = {}
    for warm in (True, False):
        model, data = mlp().double(), double()
        tracker = Tracker(model, [data], every=4, draws=0, warm=warm)
        trained(tracker, model, data, 41, lr=0.02)
        assert all(point.converged for point in tracker.points)
        spent[warm] = sum(point.products for point in tracker.points[1:])
    assert spent[True] < 0.9 * spent[False]


def test_an_eigenvalue_that_overtakes_the_followed_one_is_found():
    model = torch.nn.Linear(6, 1, bias=False).double()
    scale = torch.eye(6).double()
    scale[0, 0], targets = 3.0, torch.zeros(6, 1).double()
    seen = []

    def loss_fn(model, batch):
        # The curvature of one direction depends on the parameters: the first starts as the largest.
        w = model.weight[0]
        bend = (batch[0] @ w).square().sum() + w[1] ** 4 * 10
        return bend, 6

    torch.nn.init.zeros_(model.weight)
    tracker = Tracker(model, (scale, targets), loss_fn=loss_fn, tol=1e-6, draws=0)
    for value in (0.0, 0.5, 1.0):
        with torch.no_grad():
            model.weight[0, 1] = value
        seen.append(tracker.measure(0))
    exact = [max(18 / 6, (2 + 120 * v**2) / 6) for v in (0.0, 0.5, 1.0)]
    assert [float(p.values[0]) for p in seen] == pytest.approx(exact, rel=1e-5)


def test_tracking_leaves_model_gradients_and_random_state_alone():
    model, data = mlp().train(), classification(12)
    F.cross_entropy(model(data[0]), data[1]).backward()
    tracker = Tracker(model, data, k=2)
    before = snapshot(model)
    tracker(0)
    assert_same_state(model, before)


def test_the_table_has_a_column_per_quantity_and_a_row_per_point():
    tracker = Tracker(mlp(), classification(12), k=2, draws=1)
    assert tracker.table()["step"] == []
    tracker(0), tracker(1), tracker(50)
    table = tracker.table()
    assert {len(column) for column in table.values()} == {2}
    assert table["step"] == [0, 50]
    assert {"eigenvalue_1", "eigenvalue_2", "residual_2", "cosine_1", "share"} <= set(table)
    assert all(map(math.isnan, table["trace_stderr"]))
    assert not any(map(math.isnan, table["trace"]))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k": 0}, "k must be a whole number of at least 1"),
        ({"k": 58}, "k must be at most the number of parameters 57"),
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"draws": -1}, "draws must be a whole number of at least 0"),
    ],
)
def test_arguments_out_of_range_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        Tracker(mlp(), classification(4), **options)

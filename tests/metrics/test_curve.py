from __future__ import annotations

import csv
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.metrics.curve import BezierCurve, mode_connectivity

inside = st.floats(0.0, 1.0)
quarters = [0.0, 0.25, 0.5, 0.75, 1.0]


def points(count, n=7, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, n, generator=generator, dtype=torch.float64).to(dtype)


@given(inside)
def test_one_bend_gives_the_quadratic_formula(t):
    a, c, b = points(3)
    wanted = (1 - t) ** 2 * a + 2 * t * (1 - t) * c + t**2 * b
    assert torch.allclose(BezierCurve(points(3))(t), wanted, rtol=0, atol=1e-14)


def test_ends_and_middle():
    a, c, b = points(3, dtype=torch.float32)
    curve = BezierCurve(torch.stack([a, c, b]))
    assert torch.equal(curve(0.0), a)
    assert torch.equal(curve(1.0), b)
    assert torch.allclose(curve(0.5), a / 4 + c / 2 + b / 4, atol=1e-6)


def test_a_bend_that_diverged_does_not_spoil_the_ends():
    a, _, b = points(3)
    curve = BezierCurve(torch.stack([a, torch.full_like(a, math.nan), b]))
    assert torch.equal(curve(0.0), a)
    assert torch.equal(curve(1.0), b)
    assert curve(0.5).isnan().all()


@given(inside, st.integers(2, 6))
def test_the_curve_is_its_points_times_its_weights(t, count):
    curve = BezierCurve(points(count))
    weights = torch.tensor(curve.weights(t), dtype=torch.float64)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(weights @ curve.points, curve(t), rtol=0, atol=1e-13)


@given(inside, st.integers(1, 5))
def test_evenly_spaced_points_on_a_line_give_the_line(t, d):
    a, b = points(2)
    steps = torch.linspace(0, 1, d + 1, dtype=torch.float64)[:, None]
    curve = BezierCurve(a + steps * (b - a))
    assert torch.allclose(curve(t), a + t * (b - a), rtol=0, atol=1e-13)


def test_equal_points_give_a_curve_that_does_not_move():
    point = points(1, dtype=torch.float32)
    curve = BezierCurve(point.expand(3, -1).clone())
    assert all(torch.equal(curve(t), point[0]) for t in torch.linspace(0, 1, 61).tolist())
    assert curve.lengths(quarters).tolist() == [0.0] * 5


@given(st.integers(0, 10_000))
def test_squared_chords_obey_the_identities_of_the_published_archive(seed):
    a, c, b = points(3, 50, seed=seed)
    _, one, two, three, four = BezierCurve(torch.stack([a, c, b])).lengths(quarters).tolist()
    d, delta = float((a - b).square().sum()), float((c - (a + b) / 2).square().sum())
    assert one**2 + four**2 == pytest.approx(d / 8 + 0.28125 * delta, rel=1e-12)
    assert two**2 + three**2 == pytest.approx(d / 8 + 0.03125 * delta, rel=1e-12)


def test_lengths_of_close_models_keep_their_digits():
    small = 1000.0 + 1e-2 * points(3, 100, dtype=torch.float32)
    lengths = BezierCurve(small).lengths(quarters)
    exact = BezierCurve(small.double())
    wanted = [float((exact(t) - exact(t - 0.25)).norm()) for t in quarters[1:]]
    assert lengths.dtype == torch.float64
    assert lengths[1:].tolist() == pytest.approx(wanted, rel=1e-6)


def test_sums_of_lengths_are_float64():
    huge = BezierCurve(1e25 * points(3, dtype=torch.float32))  # squares are beyond float32
    assert huge.lengths(quarters).isfinite().all()


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_points_that_are_no_curve_are_refused(shape):
    with pytest.raises(ValueError, match="points must be"):
        BezierCurve(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.0, 1.0, 10.0, 2.0, 0.0], (-10.0, 2)),  # a barrier
        ([10.0, 4.0, 1.0, 9.0, 8.0], (8.0, 2)),  # a valley: ends not trained to convergence
        ([3.0, 3.0, 3.0, 3.0, 3.0], (0.0, 0)),
        ([90.0, 5.0, 2.0, 1.0, 0.0], (-45.0, 0)),  # a dead end counts as a barrier
        ([0.0, 1.0, 2.0, 5.0, 90.0], (-45.0, 4)),  # on either side
        ([8200 / 1437, 53000 / 1437], (-22400 / 1437, 1)),  # rounding favours the valley here
    ],
)
def test_value_and_position_of_the_largest_deviation(values, wanted):
    assert mode_connectivity(values) == pytest.approx(wanted)


@given(st.lists(st.integers(0, 1437), min_size=2, max_size=9))
def test_connectivity_has_no_direction(counts):
    errors = [100.0 * count / 1437 for count in counts]
    forward, backward = mode_connectivity(errors)[0], mode_connectivity(errors[::-1])[0]
    assert forward == backward
    ends = (errors[0] + errors[-1]) / 2
    assert abs(forward) == pytest.approx(max(abs(ends - e) for e in errors), abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_no_number_has_no_connectivity(bad):
    value, index = mode_connectivity([0.0, bad, 0.0])
    assert math.isnan(value)
    assert index is None


@pytest.mark.data
def test_values_of_all_210_published_curves_follow_from_their_series(shared_data):
    path = shared_data / "yang2021" / "yang2021_cifar10_resnet18_pairs.csv"
    with path.open(newline="") as file:
        curves = [row for row in csv.DictReader(file) if row["mc_train_err"]]
    assert len(curves) == 210
    for row in curves:
        errors, nats = (
            [float(row[f"{series}_t{t}"]) for t in ("000", "025", "050", "075", "100")]
            for series in ("tr_err", "tr_nll")
        )
        value, index = mode_connectivity(errors)
        assert value == pytest.approx(float(row["mc_train_err"]), abs=1e-6)
        assert index / 4 == float(row["mc_tstar"])
        assert mode_connectivity(nats)[0] == pytest.approx(float(row["mc_train_nll"]), abs=1e-7)

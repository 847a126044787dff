"""What is read off a spectrum, against spectra that are known."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import symmetric_matrix

from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.results import SpectralDensity

BULK = torch.linspace(-0.2, 1.0, 294)
FAR = torch.tensor([-5.0, 10.0, 10.0, 10.0, 20.0, 21.0])
VALUES = torch.cat([BULK, FAR]).double()


@pytest.fixture(scope="module")
def density():
    return lanczos_quadrature(DenseOperator(symmetric_matrix(VALUES)), starts=40, steps=30)


EXACT = {
    "trace": (None, VALUES.sum()),
    "frobenius": (None, VALUES.norm()),
    "logdet": (6.0, (VALUES + 6).log().sum()),
    "effective_rank": (6.0, (VALUES / (VALUES + 6)).sum()),
    "fraction_negative": (None, (VALUES < 0).double().mean()),
}


@pytest.mark.parametrize("name", EXACT)
def test_functionals_lie_within_their_errors(density, name):
    damping, exact = EXACT[name]
    found = density.functional(name, damping=damping)
    assert 0 < found.stderr < 0.3 * abs(float(exact))
    low, high = found.interval(0.999)
    # A jump within the bulk is between two nodes for every start alike.
    slack = 0.02 if name == "fraction_negative" else 0.0
    assert low - slack <= float(exact) <= high + slack


def test_a_function_of_eigenvalues_is_summed_over_all_of_them(density):
    found = density.functional(lambda x: torch.exp(-x))
    assert abs(found.value - float((-VALUES).exp().sum())) < 4 * found.stderr
    assert torch.equal(density.functional(lambda x: x).draws, density.functional("trace").draws)
    ones = density.functional(torch.ones_like)
    assert ones.value == pytest.approx(300)
    assert ones.stderr < 1e-9


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda d: d.functional("logdet"), "'logdet' needs damping"),
        (lambda d: d.functional("logdet", damping=5.0), "damping must exceed 0 and minus the sm"),
        (lambda d: d.functional("trace", damping=1.0), "damping has no meaning for 'trace'"),
        (lambda d: d.functional(torch.exp, damping=1.0), "damping belongs to"),
        (lambda d: d.functional("rank"), "f must be a function or one of trace"),
        (lambda d: d.functional(torch.log), "f is not finite"),
        (lambda d: d.functional(lambda x: x.sum()), "f must return a tensor of shape"),
        (lambda d: d.count(above=2, below=1), "above must be less than below, got 2 and 1"),
        (lambda d: d.mass_at_zero(-1), "tolerance must not be negative, got -1"),
        (lambda d: d.outliers(-1), "gap must not be negative"),
        (lambda d: d.functional("trace").interval(1.0), "level must be positive and below 1"),
    ],
)
def test_what_makes_no_sense_is_named(density, act, text):
    with pytest.raises(ValueError, match=text):
        act(density)


def test_outliers_are_found_at_both_ends_with_their_multiplicities(density):
    found = density.outliers(gap=0.5)
    assert torch.allclose(found.values, torch.tensor([21.0, 20, 10, -5]).double(), atol=1e-6)
    error = (found.multiplicity - torch.tensor([1.0, 1, 3, 1])).abs()
    assert (error < 4 * found.stderr).all()
    count, stderr = found.count
    assert abs(count - 6) < 4 * stderr
    assert len(density.outliers(gap=7.0)) == 2 + 1  # 21, 20 and 10, beyond the gap above the bulk
    assert len(density.outliers(gap=9.5)) == 2


def test_counts_beyond_a_threshold_are_unbiased(density):
    for count, exact in (
        (density.count(above=5.0), 5),
        (density.count(below=-1.0), 1),
        (density.count(above=-1.0, below=5.0), 294),
    ):
        assert abs(count.value - exact) < 4 * count.stderr


def test_no_outlier_is_claimed_in_a_bulk():
    flat = lanczos_quadrature(
        DenseOperator(symmetric_matrix(torch.linspace(-1, 1, 400))), starts=10, steps=15
    )
    assert len(flat.outliers()) == 0


def test_one_start_has_no_errors():
    single = lanczos_quadrature(DenseOperator(symmetric_matrix(VALUES)), starts=1, steps=10)
    assert math.isnan(single.functional("trace").stderr)
    assert math.isnan(single.outliers().count[1])
    x, y = single.curve()
    assert float(torch.trapezoid(y, x)) == pytest.approx(1.0, abs=2e-3)


def test_the_curve_integrates_to_one_and_keeps_outliers_apart(density):
    x, y = density.curve()
    assert (x.diff() > 0).all()
    assert float(torch.trapezoid(y, x)) == pytest.approx(1.0, abs=2e-3)
    part = (x > 19.5) & (x < 20.5)
    near = (density.nodes > 19.5) & (density.nodes < 20.5)
    mass = float((density.weights * near).sum(1).mean())
    assert float(torch.trapezoid(y[part], x[part])) == pytest.approx(mass, rel=0.02)
    # 21 and 20 are separate peaks, though the range of the spectrum over the steps is about 1.
    between = (x > 20.2) & (x < 20.8)
    assert float(y[between].max()) < 1e-6
    # The bulk is flat: 294 of 300 in an interval of length 1.2.
    inner = (x > 0.0) & (x < 0.8)
    assert float((y[inner] * 1.2 * 300 / 294 - 1).abs().max()) < 0.25


def test_a_spectrum_of_one_value_has_a_curve():
    one = SpectralDensity(
        nodes=torch.full((2, 3), 2.0).double(),
        weights=torch.tensor([[1.0, 0, 0]] * 2).double(),
        dimension=5,
        products=2,
        samples=0,
    )
    x, y = one.curve()
    assert float(torch.trapezoid(y, x)) == pytest.approx(1.0, abs=2e-3)
    with pytest.raises(ValueError, match="outliers need residuals"):
        one.outliers()

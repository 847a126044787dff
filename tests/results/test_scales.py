"""Exponents, radii and plateaus of rises whose growth is known, and errors that hold the truth."""

from __future__ import annotations

import math

import pytest
import torch

from landscape_fast.results import Growth
from landscape_fast.results.scales import power_law
from landscape_fast.store import Store


def grown(rise, *, curvature=math.nan, odd=0.0, per_decade=16, span=(-5, 1), floor=0.0):
    """A growth whose rises are ``rise(r)``, with a slope that the two sides do not share."""
    count = (span[1] - span[0]) * per_decade + 1
    radii = torch.logspace(span[0], span[1], count, dtype=torch.float64)
    values = rise(radii)
    return Growth(
        radii=radii,
        sides=torch.stack([values + odd * radii, values - odd * radii])[None],
        slopes=torch.tensor([odd], dtype=torch.float64),
        curvatures=torch.tensor([curvature], dtype=torch.float64),
        loss=0.0,
        floor=floor,
        samples=1,
        note=None,
    )


@pytest.mark.parametrize("p", [0.5, 1.0, 1.7, 2.0, 4.0])
def test_a_power_has_its_exponent(p):
    found = grown(lambda r: 0.3 * r**p, odd=1e-3)
    fit = found.exponent()
    assert fit.exponent == pytest.approx(p, abs=1e-9)
    assert fit.stderr < 1e-9
    local = found.local_exponents()[0, found.rises[0] > 1e-12]
    assert local.tolist() == pytest.approx([p] * len(local), abs=1e-4)
    low, high = (0.3 * radius**p for radius in fit.window)
    assert 1e-4 <= low < high <= 1e-1


def test_one_side_holds_the_slope_that_both_cancel():
    found = grown(lambda r: r**2, odd=5.0)
    assert found.exponent().exponent == pytest.approx(2.0, abs=1e-9)
    assert found.exponent(side="plus").exponent < 1.5
    with pytest.raises(ValueError, match="side must be 'mean'"):
        found.exponent(side="left")


def coverage(correlation, noise=0.05, trials=200):
    """How often the stated 95% interval of the exponent holds it, and its relative mean width."""
    generator = torch.Generator().manual_seed(0)
    radii = torch.logspace(-3, 0, 49, dtype=torch.float64)
    inside = 0
    for _ in range(trials):
        steps = torch.randn(len(radii) + 50, generator=generator, dtype=torch.float64)
        error = [0.0]
        for step in steps.tolist():
            error.append(correlation * error[-1] + math.sqrt(1 - correlation**2) * step)
        rises = radii**1.5 * torch.exp(noise * torch.tensor(error[-len(radii) :]))
        fit = power_law(radii, rises, between=(1e-9, 1e9))
        low, high = fit.interval()
        inside += low <= 1.5 <= high
    return inside / trials


def test_the_stated_error_covers_independent_noise():
    assert 0.92 <= coverage(0.0) <= 0.99


def test_the_stated_error_covers_noise_that_hangs_together():
    assert 0.85 <= coverage(0.7) <= 0.99


def test_denser_radii_do_not_make_a_bent_line_more_certain():
    bent = [
        grown(lambda r: r**2 / (1 + r / 0.05), per_decade=n).exponent(between=(1e-4, 1e-1))
        for n in (16, 64)
    ]
    assert bent[1].points > 3.5 * bent[0].points
    assert bent[1].stderr > 0.7 * bent[0].stderr


def test_rounding_is_part_of_the_error():
    generator = torch.Generator().manual_seed(1)
    floor = 1e-6
    found = grown(
        lambda r: r**2 + floor * torch.randn(len(r), generator=generator, dtype=torch.float64),
        floor=floor,
    )
    fit = found.exponent(between=(2e-5, 1e-3))
    assert abs(fit.exponent - 2) < 4 * fit.stderr
    assert found.local_exponents()[0][found.rises[0] < 10 * floor].isnan().all()


def test_a_window_without_points_is_refused():
    found = grown(lambda r: r**2)
    with pytest.raises(ValueError, match="holds 0 radii"):
        found.exponent(between=(1e5, 1e6))
    with pytest.raises(ValueError, match="low < high"):
        found.exponent(between=(1.0, 0.1))


def test_the_window_ends_where_the_rise_leaves_it_or_is_no_number():
    found = grown(lambda r: torch.where(r < 0.1, r**2, torch.nan))
    assert found.exponent().window[1] < 0.1
    back = grown(lambda r: torch.where(r < 0.1, r**2, 1e-3 * r))
    assert back.exponent(between=(1e-6, 1e-2)).window[1] == pytest.approx(10.0)


@pytest.mark.parametrize(("sign", "ratio"), [(1, 1.1), (-1, 0.9)])
def test_quadratic_plus_quartic_leaves_the_quadratic_at_a_known_radius(sign, ratio):
    """l = h r^2 / 2 + s q r^4: off by a tenth at r = sqrt(0.1 h / (2 q))."""
    h, q = 3.0, 7.0
    found = grown(lambda r: h * r**2 / 2 + sign * q * r**4, curvature=h, odd=0.1)
    radius = found.quadratic_radius()
    exact = math.sqrt(0.1 * h / (2 * q))
    assert radius.lower < exact < radius.upper
    assert radius.value == pytest.approx(exact, rel=0.01)
    assert (radius.ratio > 1) == (sign > 0)
    assert radius.ratio == pytest.approx(ratio, abs=0.05)


def test_the_radius_of_a_quadratic_is_beyond_all():
    found = grown(lambda r: r**2, curvature=2.0)
    assert found.quadratic_radius().value == math.inf
    assert found.quadratic_radius().lower == pytest.approx(10.0)


def test_no_curvature_and_the_wrong_one_have_no_radius():
    assert math.isnan(grown(lambda r: r**4, curvature=0.0).quadratic_radius().value)
    wrong = grown(lambda r: r**2, curvature=1.0).quadratic_radius()
    assert (wrong.lower, wrong.value) == (0.0, pytest.approx(1e-5))
    with pytest.raises(ValueError, match="tolerance"):
        grown(lambda r: r**2).quadratic_radius(tolerance=2.0)


def test_rounding_at_small_radii_does_not_end_the_quadratic():
    noisy = grown(lambda r: r**2 + 1e-9, curvature=2.0, floor=1e-9)
    assert noisy.quadratic_radius().value == math.inf


def test_effective_curvature_of_a_quadratic_is_its_curvature_whatever_is_added():
    _, values = grown(lambda r: 1.5 * r**2 + 7.0, per_decade=4).effective_curvatures()
    assert values[0].tolist() == pytest.approx([3.0] * values.shape[1], rel=1e-4)


def test_two_scales_are_two_plateaus():
    """A sharp part that levels off above a wide one: curvature 1e4 + 1, then 1."""
    found = grown(lambda r: (1 - torch.exp(-(1e4 * r**2) / 2)) + r**2 / 2, per_decade=32)
    near, far = found.plateaus(tolerance=0.1)
    assert near.low <= 1e4 + 1 <= near.high * (1 + 1e-3)
    assert far.low * (1 - 1e-9) <= 1.0 <= far.high
    assert far.curvature == pytest.approx(1.0, rel=0.05)
    assert near.stop < 1e-2 < far.start
    assert far.stop > 9


def test_a_power_has_no_plateau_but_a_square_is_one():
    assert grown(lambda r: r**1.5).plateaus() == ()
    (only,) = grown(lambda r: r**2).plateaus()
    assert only.stop / only.start > 1e5
    with pytest.raises(ValueError, match="decades must be positive"):
        grown(lambda r: r**2).plateaus(decades=0.0)


@pytest.mark.parametrize("index", [-1, 1, 7])
def test_a_direction_that_is_not_there_is_named(index):
    found = grown(lambda r: r**2, curvature=2.0)
    for read in (found.exponent, found.quadratic_radius, found.plateaus):
        with pytest.raises(ValueError, match=f"index must be .* at most 0, got {index}"):
            read(index)


def test_growths_come_back_from_the_store(tmp_path):
    found = grown(lambda r: r**2, curvature=2.0)
    store = Store(tmp_path)
    for name, result in (("growth", found), ("fit", found.exponent())):
        store.save("key", name, result)
    assert torch.equal(store.load("key", "growth").sides, found.sides)
    assert store.load("key", "fit") == found.exponent()


def test_a_rise_far_above_a_prediction_below_rounding_ends_the_quadratic():
    found = grown(lambda r: r**4, curvature=1e-16, floor=1e-15).quadratic_radius()
    assert found.value == found.upper < 1e-2
    assert found.lower == 0.0


def test_where_rounding_hides_every_radius_nothing_is_said():
    found = grown(lambda r: 1e-18 * r**2, curvature=2e-18, floor=1e-10).quadratic_radius()
    assert math.isnan(found.value)
    assert (found.lower, found.upper) == (0.0, math.inf)

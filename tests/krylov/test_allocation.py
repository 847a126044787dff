from __future__ import annotations

import math

import pytest
import torch

from landscape_fast.krylov.allocation import Estimated, Part, sum_until


def gaussian(mean, deviation, seed):
    """Draws (count, 2) with independent columns; draw i depends on i alone."""

    def draw(first, count):
        rows = []
        for index in range(first, first + count):
            generator = torch.Generator().manual_seed(1000 * seed + index)
            rows.append(torch.randn(2, generator=generator, dtype=torch.float64))
        return mean / 2 + deviation / math.sqrt(2) * torch.stack(rows)

    return draw


def test_draws_go_where_the_spread_is_large_and_the_price_is_low():
    parts = [
        Part(gaussian(50.0, 8.0, 1), price=1.0),
        Part(gaussian(50.0, 2.0, 2), price=1.0),
        Part(gaussian(50.0, 8.0, 3), price=16.0),
    ]
    drawn = sum_until(parts, 100.0, rtol=0.003, atol=0.0, max_products=10**6)
    draws = drawn.draws
    assert drawn.converged
    found = Estimated(draws)
    assert math.sqrt(found.variance) <= 0.003 * (100 + found.value)
    assert abs(found.value - 150) < 4 * math.sqrt(found.variance)
    first, second, third = (len(drawn) for drawn in draws)
    assert first / second == pytest.approx(4, rel=0.5)  # standard deviations
    assert first / third == pytest.approx(4, rel=0.5)  # roots of prices


def test_the_budget_ends_the_run_and_an_error_of_zero_is_never_reached():
    part = Part(gaussian(1.0, 1.0, 1), price=0.5)
    drawn = sum_until([part], rtol=0.0, atol=0.0, max_products=100)
    assert not drawn.converged
    assert len(drawn.draws[0]) == 200
    assert sum(drawn.spent) == 100


def test_degrees_of_freedom_are_satterthwaites():
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(5, 1, generator=generator, dtype=torch.float64)
    many = torch.randn(400, 1, generator=generator, dtype=torch.float64)
    v, w = float(few.var()) / 5, float(many.var()) / 400
    assert Estimated([few, many]).freedom == pytest.approx((v + w) ** 2 / (v**2 / 4 + w**2 / 399))
    assert Estimated([few]).freedom == pytest.approx(4)
    assert Estimated([torch.ones(5, 1, dtype=torch.float64)]).freedom == math.inf
    assert Estimated([]).freedom is None
    assert Estimated([]).value == 0.0


def test_columns_keep_their_own_errors():
    drawn = sum_until([Part(gaussian(3.0, 1.0, 4), 1.0)], rtol=0.02, atol=0, max_products=10**5)
    found = Estimated(drawn.draws)
    assert float(found.means.sum()) == pytest.approx(found.value)
    assert (found.variances > 0).all()
    assert found.dearest().sum().abs() < 1e-9


@pytest.mark.parametrize("most", [2, 7, 10])
def test_a_small_budget_bounds_the_pilot_too(most):
    drawn = sum_until([Part(gaussian(1.0, 1.0, 1), 1.0)], rtol=0.0, atol=0.0, max_products=most)
    assert len(drawn.draws[0]) == sum(drawn.spent) == most


def with_sum(price, exact_price, mean=5.0):
    exact = torch.tensor([mean, 0.0], dtype=torch.float64)
    return Part(gaussian(mean, 2.0, 6), price, exact=lambda: exact, exact_price=exact_price)


def test_a_part_is_summed_at_once_where_that_costs_no_more_than_the_pilot():
    drawn = sum_until([with_sum(1.0, 16.0)], rtol=0.1, atol=0.0, max_products=1000)
    assert sum(drawn.spent) == 16
    assert drawn.converged
    assert (Estimated(drawn.draws).value, Estimated(drawn.draws).variance) == (5.0, 0.0)


def test_a_part_is_summed_after_the_pilot_where_the_draws_it_lacks_would_cost_more():
    parts = [with_sum(1.0, 60.0), Part(gaussian(9.0, 1.0, 7), 1.0)]
    dear = sum_until(parts, rtol=0.003, atol=0.0, max_products=10_000)
    assert (dear.draws[0] == torch.tensor([5.0, 0.0])).all()
    assert dear.converged
    assert Estimated(dear.draws).variance > 0
    assert sum(dear.spent) == 16 + 60 + len(dear.draws[1])
    cheap = sum_until(parts, rtol=0.05, atol=0.0, max_products=10_000)
    assert len(cheap.draws[0]) >= 16


def test_nothing_is_summed_beyond_the_budget():
    drawn = sum_until([with_sum(1.0, 60.0)], rtol=0.0, atol=0.0, max_products=59)
    assert not drawn.converged
    assert len(drawn.draws[0]) == 59
    drawn = sum_until([with_sum(1.0, 60.0)], rtol=0.0, atol=0.0, max_products=100)
    assert drawn.converged


def test_where_many_draws_are_wanted_larger_ones_make_them():
    large = Part(gaussian(50.0, 1.0, 3), price=0.5)
    small = Part(gaussian(50.0, 8.0, 2), price=0.1, larger=large)
    drawn = sum_until([small], rtol=0.001, atol=0, max_products=10**5)
    assert drawn.converged
    assert float(drawn.draws[0].sum(1).mean()) == pytest.approx(50.0, abs=0.2)
    assert float(drawn.draws[0].sum(1).std()) < 2.0, "small draws are among them"
    assert sum(drawn.spent) == pytest.approx(16 * 0.1 + len(drawn.draws[0]) * 0.5)


@pytest.mark.parametrize("rtol", [0.05, 0.02])
def test_small_draws_go_on_where_few_are_wanted(rtol):
    large = Part(gaussian(50.0, 1.0, 3), price=10.0)
    small = Part(gaussian(50.0, 8.0, 2), price=0.1, larger=large)
    drawn = sum_until([small], rtol=rtol, atol=0, max_products=10**5)
    assert sum(drawn.spent) == pytest.approx(0.1 * len(drawn.draws[0]))


def test_larger_draws_are_left_out_where_the_budget_has_no_room_for_their_pilot():
    large = Part(gaussian(50.0, 1.0, 3), price=0.5)
    small = Part(gaussian(50.0, 8.0, 2), price=0.1, larger=large)
    drawn = sum_until([small], rtol=0.001, atol=0, max_products=9)
    assert not drawn.converged
    assert sum(drawn.spent) == pytest.approx(0.1 * len(drawn.draws[0]))
    assert sum(drawn.spent) <= 9

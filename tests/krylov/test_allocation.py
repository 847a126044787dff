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
    draws, converged = sum_until(parts, 100.0, rtol=0.003, atol=0.0, max_products=1e6)
    assert converged
    found = Estimated(draws)
    assert math.sqrt(found.variance) <= 0.003 * (100 + found.value)
    assert abs(found.value - 150) < 4 * math.sqrt(found.variance)
    first, second, third = (len(drawn) for drawn in draws)
    assert first / second == pytest.approx(4, rel=0.5)  # standard deviations
    assert first / third == pytest.approx(4, rel=0.5)  # roots of prices


def test_the_budget_ends_the_run_and_an_error_of_zero_is_never_reached():
    part = Part(gaussian(1.0, 1.0, 1), price=0.5)
    draws, converged = sum_until([part], rtol=0.0, atol=0.0, max_products=100)
    assert not converged
    assert len(draws[0]) == 200


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
    draws, _ = sum_until([Part(gaussian(3.0, 1.0, 4), 1.0)], rtol=0.02, atol=0, max_products=1e5)
    found = Estimated(draws)
    assert float(found.means.sum()) == pytest.approx(found.value)
    assert (found.variances > 0).all()
    assert found.dearest().sum().abs() < 1e-9

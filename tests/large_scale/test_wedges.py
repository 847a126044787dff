"""The toy landscape keeps what its closed forms predict."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from landscape_fast.large_scale.wedges import Wedges


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cut_directions(size: int, dimension: int, seed: int) -> Tensor:
    return torch.linalg.qr(gaussian(size, dimension, seed=seed)).Q.T


def distance_by_definition(point: Tensor, long: int) -> Tensor:
    """Least distance from all subspaces of ``long`` axes, one by one."""
    size = len(point)
    shorts = combinations(range(size), size - long)
    return torch.stack([point[list(short)].norm() for short in shorts]).min()


def test_the_loss_is_the_distance_from_the_nearest_of_all_wedges():
    points = gaussian(6, 7)
    found = Wedges(7, 3).loss(points)
    assert torch.allclose(found, torch.stack([distance_by_definition(p, 3) for p in points]))


def test_order_and_signs_do_not_matter():
    point, wedges = gaussian(9), Wedges(9, 4)
    turned = (
        point[torch.randperm(9, generator=torch.Generator().manual_seed(1))] * gaussian(9).sign()
    )
    assert wedges.loss(turned) == pytest.approx(float(wedges.loss(point)), rel=1e-14)


def test_the_gradient_is_that_of_the_definition():
    wedges, point = Wedges(6, 2), gaussian(6).requires_grad_()
    (exact,) = torch.autograd.grad(distance_by_definition(point, 2), point)
    (found,) = torch.autograd.grad(wedges.loss(point), point)
    assert torch.allclose(found, exact)
    assert float(found.norm()) == pytest.approx(1.0)
    optimum = wedges.nearest(point.detach()).requires_grad_()
    (there,) = torch.autograd.grad(wedges.loss(optimum), optimum)
    assert not there.any()


def test_the_loss_falls_in_a_straight_line_from_a_start_to_its_optimum():
    wedges, start = Wedges(12, 5), gaussian(12)
    end = wedges.nearest(start)
    t = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    assert torch.allclose(
        wedges.loss(torch.lerp(start, end, t)), wedges.loss(start) * (1 - t[:, 0])
    )
    assert float((start - end).norm()) == pytest.approx(float(wedges.loss(start)))


def test_two_optima_are_joined_through_the_origin_and_not_by_the_straight_line():
    wedges = Wedges(20, 8)
    one, other = torch.zeros(2, 20, dtype=torch.float64)
    one[:8], other[8:16] = 1.0, 1.0
    t = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    assert not wedges.loss(torch.cat([t * one, t * other])).any()
    # In the middle 16 entries are 1/2, of which 8 count.
    assert float(wedges.loss((one + other) / 2)) == pytest.approx(math.sqrt(8) / 2)


@pytest.mark.parametrize(("size", "long"), [(12, 7), (30, 20)])
def test_random_affine_cuts_succeed_from_the_number_of_short_directions_on(size, long):
    wedges = Wedges(size, long)
    for dimension in range(wedges.short - 2, wedges.short + 2):
        losses = []
        for cut in range(6):
            start = gaussian(size, seed=100 + cut)
            directions = cut_directions(size, dimension, seed=cut)
            loss, point = wedges.lowest_on_cut(start, directions)
            moved = point - start
            assert torch.allclose(directions.T @ (directions @ moved), moved)
            assert loss == pytest.approx(float(wedges.loss(point)))
            losses.append(loss)
        if dimension >= wedges.short:
            assert max(losses) < 1e-12
        else:
            assert min(losses) > 1e-4


@pytest.mark.parametrize(("dimension", "succeeds"), [(4, False), (7, False), (13, True)])
def test_plain_gradient_descent_on_cuts_needs_as_many_dimensions(dimension, succeeds):
    wedges, cuts = Wedges(24, 14), 8
    starts = gaussian(cuts, 24, seed=3)
    directions = torch.stack([cut_directions(24, dimension, seed) for seed in range(cuts)])
    moves = torch.zeros(cuts, dimension, dtype=torch.float64)
    for _ in range(1500):  # on the squared loss, whose steps shrink towards an optimum
        points = starts + torch.einsum("kdn,kd->kn", directions, moves)
        moves -= torch.einsum("kdn,kn->kd", directions, points - wedges.nearest(points))
    losses = wedges.loss(starts + torch.einsum("kdn,kd->kn", directions, moves))
    assert (float(losses.median()) < 0.02) is succeeds


def test_a_cut_lies_as_far_from_one_wedge_as_predicted():
    wedges, squares = Wedges(30, 18), []
    for seed in range(300):
        short = cut_directions(30, 7, seed)[:, : wedges.short].T
        start = gaussian(wedges.short, seed=1000 + seed)
        squares.append(
            float((start - short @ torch.linalg.lstsq(short, start).solution).square().sum())
        )
    found = torch.tensor(squares)
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - wedges.cut_distance(7) ** 2) < 4 * error
    assert wedges.cut_distance(12) == wedges.cut_distance(20) == 0.0


def test_gaussian_starts_have_the_predicted_loss():
    wedges = Wedges(4000, 1500)
    found = wedges.loss(3.0 * gaussian(10, 4000)).square().mean().sqrt()
    assert float(found) == pytest.approx(wedges.start_loss(3.0), rel=0.02)


def test_arguments_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"long must lie between 0 and size=3, got 3"):
        Wedges(3, 3)
    with pytest.raises(ValueError, match=r"points must be \(\.\.\., 3\), got \(2,\)"):
        Wedges(3, 1).loss(torch.zeros(2))
    with pytest.raises(ValueError, match=r"directions \(d, 3\)"):
        Wedges(3, 1).lowest_on_cut(torch.zeros(3), torch.zeros(1, 2))

"""Chains of segments, and the band that they become when lengths are kept in proportion."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.metrics.polychain import PolyChain

inside = st.floats(0.0, 1.0)


def points(count, n=7, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, n, generator=generator, dtype=torch.float64)


def test_points_are_met_at_their_knots_and_joined_by_straight_lines():
    p = points(4)
    chain = PolyChain(p, [0.0, 0.1, 0.6, 1.0])
    for knot, point in zip(chain.knots, p, strict=True):
        assert torch.equal(chain(knot), point)
    assert torch.allclose(chain(0.35), (p[1] + p[2]) / 2, rtol=0, atol=1e-15)


@given(inside, st.integers(2, 6))
def test_the_chain_is_its_points_times_its_weights(t, count):
    chain = PolyChain(points(count))
    weights = torch.tensor(chain.weights(t), dtype=torch.float64)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(weights @ chain.points, chain(t), rtol=0, atol=1e-13)


def test_a_bend_that_diverged_spoils_its_own_segments_only():
    p = points(4)
    p[1] = math.nan
    chain = PolyChain(p)
    assert chain(0.5).isnan().all()
    assert torch.allclose(chain(0.9), torch.lerp(p[2], p[3], 0.7))
    assert torch.equal(chain(0.0), p[0])


def test_lengths_are_those_of_chords():
    p = points(3)
    lengths = PolyChain(p).lengths([0.0, 0.5, 1.0])
    assert lengths.tolist() == pytest.approx(
        [0.0, float((p[1] - p[0]).norm()), float((p[2] - p[1]).norm())]
    )


def test_respacing_keeps_the_way_and_makes_lengths_those_of_the_knots():
    # An L of length 4 whose bend lies at a quarter of it.
    p = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    chain = PolyChain(p, [0.0, 0.25, 0.75, 1.0])
    chain.respace()
    assert torch.allclose(chain.points[1], torch.tensor([1.0, 0.0]).double())
    assert torch.allclose(chain.points[2], torch.tensor([1.0, 2.0]).double())
    assert torch.equal(chain.points[[0, -1]], p[[0, -1]])


def test_what_has_no_length_or_is_not_finite_is_not_respaced():
    for spoiled in (torch.ones(3, 2), torch.tensor([[0.0], [math.nan], [1.0]])):
        chain = PolyChain(spoiled.clone())
        chain.respace()
        assert torch.allclose(chain.points, spoiled, equal_nan=True)


@given(st.lists(inside, max_size=4))
def test_more_bends_do_not_move_the_curve(positions):
    chain = PolyChain(points(3))
    finer = chain.with_bends_at(positions)
    assert set(finer.knots) == {*chain.knots, *positions}
    for t in torch.linspace(0, 1, 23).tolist():
        assert torch.allclose(finer(t), chain(t), rtol=0, atol=1e-12)


def test_a_tangent_halves_the_angle_at_a_bend():
    chain = PolyChain(torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]], dtype=torch.float64))
    assert chain.tangent(1).tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    folded = PolyChain(torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64))
    assert folded.tangent(1).tolist() == [0.0]  # no side of it is along


@pytest.mark.parametrize(
    "knots", [[0.0, 1.0], [0.0, 0.0, 1.0], [0.1, 0.5, 1.0], [0.0, 0.5, 0.9], [0.0, 1.5, 1.0]]
)
def test_knots_that_do_not_ascend_from_0_to_1_are_refused(knots):
    with pytest.raises(ValueError, match="knots must be 3 numbers"):
        PolyChain(points(3), knots)

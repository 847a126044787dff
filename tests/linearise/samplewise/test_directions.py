"""Rows with unequal numbers of directions go through one pass, with weights of their own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import Tied
from oracles import assert_relative, classification, cut, dense_gauss_newton, mlp

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.samplewise.diagonal import Directions, Pass
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.samplewise.table import Table, tables
from landscape_fast.linearise.state import evaluation


def directions_of(model, batches, **loss):
    space = ParameterSpace(model)
    network = SampledNetwork(model, Objective(**loss), space, batches[0])
    into = [torch.zeros(shape, dtype=torch.float64) for shape in space.shapes]
    return Directions(network, Table(batches)), into


@pytest.mark.parametrize("cotangents", [1, 2, 8])
def test_rows_with_unequal_numbers_of_directions_of_either_sign(cotangents):
    x = classification(9)[0].double()
    # Three positive, two and a negative one, ..., none at all.
    weights = torch.tensor(
        [[1, 2, 3], [1, -2, 3], [0, 0, 1], [-1, -1, 2], [0, -3, 0], [0, 0, 0], [4, 1, 0]]
        + 2 * [[1] * 3],
        dtype=torch.float64,
    )

    def loss(z):
        return (weights * z.square()).sum() / 2

    exact = dense_gauss_newton(mlp(), lambda m: m(x), loss)
    model = mlp().double()
    with evaluation(model):
        directions, into = directions_of(
            model,
            cut((x, weights), [5, 4]),
            loss_fn=lambda m, b: ((b[1] * m(b[0]).square()).sum() / 2, 1.0),
        )
        assert torch.equal(directions.curvature, weights)
        places = weights.flatten().nonzero()[:, 0]
        directions.add(places, None, into, Pass(4, cotangents))
    assert_relative(torch.cat([part.reshape(-1) for part in into]), exact.diagonal(), 1e-12)


@pytest.mark.parametrize("make", [mlp, Tied])
def test_chosen_directions_count_with_their_weights(make):
    x, y = classification(7, (3,) if make is Tied else (5,))
    model = make().double()
    with evaluation(model):
        directions, whole = directions_of(model, [(x.double(), y)])
        count = directions.curvature.numel()
        weights = torch.rand(count, generator=torch.Generator().manual_seed(0)).double()
        weights[3] = 0
        directions.add(torch.arange(count), weights, whole, Pass(3, 2))
        singly = [torch.zeros_like(part) for part in whole]
        for place in range(count):
            one = [torch.zeros_like(part) for part in whole]
            directions.add(torch.tensor([place]), None, one, Pass(3, 2))
            for part, of_one in zip(singly, one, strict=True):
                part += weights[place] * of_one
    for part, wanted in zip(whole, singly, strict=True):
        assert_relative(part, wanted, 1e-12)


def test_rows_are_found_in_any_order_whatever_batches_they_came_in():
    x, y = classification(11)
    table = Table([{"x": a, "y": b, "scale": torch.tensor(2.0)} for a, b in cut((x, y), [4, 1, 6])])
    index = torch.tensor([10, 0, 4, 4, 5, 3])
    taken = table.take(index)
    assert table.rows == 11
    assert torch.equal(taken["x"], x[index])
    assert torch.equal(taken["y"], y[index])
    assert taken["scale"] == 2.0


def test_batches_of_another_kind_are_another_table():
    x, y = classification(6)
    plain, other = (x, y), (F.pad(x, (0, 1)), y)
    assert [t.rows for t in tables([plain, plain, other, plain], None)] == [12, 6, 6]
    assert [t.rows for t in tables([plain, plain], most_bytes=x.nbytes)] == [6, 6]
